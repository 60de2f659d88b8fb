"""Compares instructions a packet with their budget: callgrind.py BUDGET COUNTS."""
import sys

ABOVE, BELOW = 1.03, 0.90


def read(path):
    lines = (line.split() for line in open(path) if line.strip() and not line.startswith("#"))
    return {name: float(count) for name, count in lines}


budget, counts = read(sys.argv[1]), read(sys.argv[2])
failed = False
print(f"{'instructions a packet, or a poll':40}{'now':>10}{'budget':>10}")
for name, now in counts.items():
    limit = budget.get(name)
    verdict = ""
    if limit is None:
        verdict = "  FAILED: no budget: ci/callgrind.sh --record"
    elif now > limit * ABOVE:
        verdict = f"  FAILED: {now / limit - 1:+.1%}, 3 % are allowed"
    elif now < limit * BELOW:
        verdict = f"  {now / limit - 1:+.1%}: lower the budget (ci/callgrind.sh --record)"
    failed |= "FAILED" in verdict
    shown = "-" if limit is None else f"{limit:.2f}"
    print(f"{name:40}{now:10.2f}{shown:>10}{verdict}")
for name in budget.keys() - counts.keys():
    failed = True
    print(f"{name:40}{'-':>10}{budget[name]:10.2f}  FAILED: in the budget, and not counted")
sys.exit(failed)
