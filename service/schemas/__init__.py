"""The schemas of requests and answers, one file for each resource. Requests are validated with them."""
