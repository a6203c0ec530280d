"""The laws of a charging plan stated in Pyomo: the model that the matrix holds, in names and equations.

model = reference_model(problem)
model.my_law = Constraint(expr=model.power_kw["car1", 0] <= model.power_kw["car2", 0])
outcome = solve_reference(model)
"""

from optimizer.planning.reference.model import REFERENCE_LAWS, reference_model
from optimizer.planning.reference.solve import solve_reference

__all__ = ["REFERENCE_LAWS", "reference_model", "solve_reference"]
