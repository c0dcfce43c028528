"""What people see: results on the terminal, as JSON, and as JUnit XML for editors and CI."""
