"""What one slot holds after each of many trials: everything stays flat, or something leaks.

Command: `python tests/benchmarks/soak.py [--trials 50] [--skip-group]`

One process, as a slot is, runs trial after trial: LoRA and full, ZeRO 1, 2 and 3, cached and online
teacher; every fifth fails or is stopped, and every tenth is a Train worker group of two besides,
which the slot drives. After each round of ten the table says what is alive once the garbage is
collected, and the resident memory. The exit code is 1 if the last round left more objects than
the first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import ray

HELPERS = Path(__file__).parents[1]
MIB = 2**20


def main() -> None:
    """Run the trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--skip-group", action="store_true", help="no worker groups")
    given = parser.parse_args()
    sys.path.insert(0, str(HELPERS))
    from helpers.alive import alive
    from helpers.conversations import write_conversations
    from helpers.slot_trials import LORA_2, TRIALS, run_trial

    ray.init(log_to_driver=False, include_dashboard=False)
    rounds: list[Counter[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        images.mkdir()
        conversations = write_conversations(images, 16)
        print("| trials | models | engines | optimizers | tensors | resident MiB |")
        print("| ---: | ---: | ---: | ---: | ---: | ---: |")
        for number in range(given.trials):
            recovery, ending = TRIALS[number % len(TRIALS)]
            run_trial(Path(folder) / str(number), conversations, recovery, ending)
            if (number + 1) % len(TRIALS):
                continue
            if not given.skip_group:
                run_trial(Path(folder) / f"{number}-group", conversations, LORA_2, None, workers=2)
            found = alive()
            rounds.append(found)
            kinds = [sum(n for k, n in found.items() if word in k) for word in WORDS]
            memory = psutil.Process().memory_info().rss / MIB
            print(f"| {number + 1} |", *(f"{n} |" for n in kinds), f"{memory:,.0f} |", flush=True)
    ray.shutdown()
    if more := rounds[-1] - rounds[0]:
        sys.exit(f"left over: {dict(more)}")


WORDS = ("ForConditionalGeneration", "Engine", "Optim", "tensors")

if __name__ == "__main__":
    main()
