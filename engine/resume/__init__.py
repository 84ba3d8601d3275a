"""Going on by itself over the reboot, as `advance --resume` asks for."""
