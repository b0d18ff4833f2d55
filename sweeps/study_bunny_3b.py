"""Every table of the study on Bunny-v1.0-3B, by the study's rules: do its numbers come out again?

Command: `prunesweep run study_bunny_3b` with the settings that `bunny_3b_frontier` takes, then
    `prunesweep study table6 study_bunny_3b`.
Cost: `prunesweep plan` prints it; one GPU of 24 GB per slot.
Outcome: not run by us yet; see `study_llava_7b`.
"""

from sweeps.bunny_3b_frontier import sweep as frontier
from sweeps.study_llava_7b import by_the_study

sweep = by_the_study("study_bunny_3b", "Bunny-v1.0-3B", frontier, "llava-phi")
