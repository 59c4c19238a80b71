"""The OpenAPI document: what each route takes and answers, with examples that the tests run."""
