"""A reproducible companion to BiSeNet V2 (https://arxiv.org/abs/2004.02147)."""

import os

# Threads that wait for each other must sleep, not spin: a data worker beside two spinning threads on two cores
# makes training ten times slower. OpenMP reads this once, so it has to be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
