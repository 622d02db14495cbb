"""Names of the moe ops in a file that do not stand inside a moe.dispatch, each once, in order."""
import re
import sys

names, depth, inside = set(), 0, None
for line in open(sys.argv[1]):
    text = re.sub(r'"[^"]*"', "", line)
    op = re.match(r"\s*(?:%[^=]*= )?(moe\.\w+)", text)
    if op and inside is None:
        names.add(op.group(1))
        if op.group(1) == "moe.dispatch":
            inside = depth
    depth += text.count("{") - text.count("}")
    if inside is not None and depth <= inside:
        inside = None
print("\n".join(sorted(names)))
