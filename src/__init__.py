import gc
import sys
import time

BEGAN = time.monotonic()     # of this process: machine.max_hours counts from here
if sys.argv[0] == "-m":      # `python -m src.<stage>` is looking for its file: runs.main lets the collector go on. Else it looks a hundred times
    gc.disable()             # through the objects of torch and timm while they are imported, and once more at the end: 2 of 4 seconds
