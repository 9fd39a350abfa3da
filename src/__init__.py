import gc
import sys
import time

BEGAN = time.monotonic()  # of this process: machine.max_hours counts from here
IS_STAGE = sys.argv[0] == "-m"  # `python -m src.<stage>` is looking for its file
# runs.main lets the collector go on. Else it looks a hundred times through the objects of torch and timm
# while they are
if IS_STAGE:
    gc.disable()  # imported, and once more at the end: 2 of 4 seconds
