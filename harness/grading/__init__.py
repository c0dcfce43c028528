"""What runs inside the process that grades: the import finder, the pytest plugin, and the guards."""
