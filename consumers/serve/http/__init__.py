"""The HTTP interface of the server: routes, schemas, middleware."""
