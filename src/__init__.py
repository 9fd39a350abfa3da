import time

BEGAN = time.monotonic()  # of this process: machine.max_hours counts from here
