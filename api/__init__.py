"""The service: configuration, composition, HTTP API, periodic work and command line."""
