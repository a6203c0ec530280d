"""One control step: observe, plan, dispatch, guard, send, record."""
