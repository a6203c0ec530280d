"""OCPP central system on aiohttp websockets."""
