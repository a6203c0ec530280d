"""Random faults in simulated time: the real service and real stations' behaviour, with everything going wrong."""
