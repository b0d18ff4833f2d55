"""What a sweep would do and cost, and what refuses it before anything is started."""
