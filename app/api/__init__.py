"""The HTTP application, put together: the callback endpoint beside everything else, and the OpenAPI document."""
