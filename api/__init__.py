"""The service: composition, HTTP API, jobs, configuration and command line."""
