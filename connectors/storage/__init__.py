"""The stores on SQLAlchemy."""
