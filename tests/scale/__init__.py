"""What a page, a client, a worker or a sweep repeats must cost the same among a million jobs as among a thousand."""
