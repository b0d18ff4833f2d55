"""Every table of the study on Mini-InternVL-4B, by its rules: do its numbers come out again?

Command: `prunesweep run study_internvl_4b` with the settings that `internvl_4b_frontier` takes,
    then `prunesweep study table9 study_internvl_4b`.
Cost: `prunesweep plan` prints it; one GPU of 48 GB per slot.
Outcome: not run by us yet; see `study_llava_7b`.
"""

from sweeps.internvl_4b_frontier import sweep as frontier
from sweeps.study_llava_7b import by_the_study

sweep = by_the_study("study_internvl_4b", "Mini-InternVL-4B", frontier, "internvl-phi3")
