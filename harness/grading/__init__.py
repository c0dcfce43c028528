"""What runs inside the process that grades: import finder, pytest plugin, guards."""
