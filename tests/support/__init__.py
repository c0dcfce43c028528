"""What several of the harness's tests share."""
