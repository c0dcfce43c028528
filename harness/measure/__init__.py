"""What the machine is and what a test cost: NVML, the device, time and memory, human units."""
