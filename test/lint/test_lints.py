#!/usr/bin/env python3
"""Each lint finds the fault it is there for: small trees with one fault each, and one without any: test_lints.py MOEC_OPT."""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MOEC_OPT = sys.argv[1]
PAGE = "# ell\n\n**Formula.** a\n**Source.** b\n**Keys.** c\n**Cost.** d\n**Effect.** e\n"

GOOD = {
    "runtime/base/A.h": "#ifndef MOEC_RUNTIME_BASE_A_H\n#define MOEC_RUNTIME_BASE_A_H\n#endif\n",
    "runtime/plan/B.cpp": '#include "runtime/base/A.h"\n\n#include <string>\n',
    "dialects/X/Transforms/Passes.td": "def P : Pass<\"p\"> {\n  let description = [{Before: a. After: b.}];\n}\n",
    "compiler/Pipelines/Phases.cpp": 'constexpr Phase table[] = {\n    {"first", "a"},\n};\n',
    "compiler/Methods/Loss/L.cpp": 'std::string kind() const override { return "ell"; }\n',
    "docs/methods/ell.md": PAGE,
    "docs/architecture.md": "# Page\n| `first` | a |\n\n[here](methods/ell.md#ell)\n",
    "specs/a.json": '{"losses": {"ell": {}}}\n',
    "README.md": "# A\n| " + "x " * 99 + "|\n\n```\n" + "y " * 99 + "\n```\n- [b](https://a.b/" + "z" * 120 + ")\n",
    "docs/ir.md": "- IR:\n  ```mlir\n  %a = moe.read @w[%i] : tensor<4x4xf32>\n  // becomes\n  %a = moe.softmax %b : tensor<4x4xf32>\n"
                  "  plan.call @f\n  ```\n```mlir\nmoe.of_tomorrow ...\n```\n",
}

# lint, file, its faulty text, words of the message
FAULTS = [
    ("layers", "runtime/plan/B.cpp", '#include "mlir/IR/Value.h"\n', "runtime/plan may include only"),
    ("layers", "runtime/plan/B.cpp", "#include <llvm/ADT/Twine.h>\n", "runtime/plan may include only"),
    ("layers", "runtime/base/A.h", '#include "runtime/plan/B.h"\n', "may include only: itself"),
    ("layers", "runtime/plan/B.cpp", "#include <nlohmann/json.hpp>\n", "only these may"),
    ("layers", "runtime/plan/B.cpp", '#include "B.h"\n', "start at the root"),
    ("layers", "dialects/X/IR/X.cpp", '#include "dialects/X/Transforms/P.h"\n', "dialects/X/IR may include only"),
    ("layers", "dialects/X/IR/X.cpp", '#include "dialects/Y/IR/Y.h"\n', "dialects/X/IR may include only"),
    ("layers", "compiler/Methods/Loss/L.cpp", '#include "compiler/Model/M.h"\n', "may include only"),
    ("layers", "compiler/New/N.cpp", '#include "runtime/base/A.h"\n', "no row yet"),
    ("sizes", "runtime/plan/B.cpp", "\n" * 601, "601 lines"),
    ("sizes", "runtime/plan/B.cpp", "// " + "x" * 120 + "\n", "123 columns"),
    ("sizes", "runtime/plan/B.cpp", "// \u00e9\n", "not ASCII"),
    ("sizes", "runtime/base/A.h", "#ifndef A_H\n#endif\n", "MOEC_RUNTIME_BASE_A_H"),
    ("sizes", "README.md", "a\n" * 201, "201 lines"),
    ("sizes", "docs/ir.md", "a " * 61 + "\n", "122 columns"),
    ("sizes", "docs/ir.md", "```\n" + "y " * 99 + "\n```\n" + "a " * 61 + "\n", "ir.md:4: 122 columns"),
    ("sizes", "dialects/X/Transforms/Passes.td", "let a = [{\n" + "b " * 61 + "\n}];\n", "122 columns"),
    ("examples", "docs/ir.md", "```mlir\nmoe.of_tomorrow\n```\n", "ir.md:2: an example of IR that does not hold"),
    ("examples", "docs/ir.md", "```mlir\n%a = moe.softmax %b : tensor<4xf32>\n```\n", "rank"),
    ("examples", "docs/ir.md", "```mlir\n%a = moe.read @w : tensor<1x1xf32>\n// becomes\n%c = moe.matmul %a, %b : "
     "tensor<2x3xf32>, tensor<4x2xf32> -> tensor<2x2xf32>\n```\n", "ir.md:4: an example of IR that does not hold"),
    ("examples", "dialects/X/Transforms/Passes.td", "  let description = [{\n    ```mlir\n    plan.wait 1\n    ```\n  }];\n",
     "Passes.td:3"),
    ("format", "runtime/plan/B.cpp", "int  a ;\n", "not formatted"),
    ("methods", "docs/methods/ell.md", PAGE.replace("ell", "other"), None),
    ("methods", "docs/methods/ell.md", PAGE.replace("Effect", "Use"), "Effect"),
    ("methods", "compiler/Methods/Loss/M.cpp", 'std::string kind() const override { return "em"; }\n', "no page"),
    ("methods", "specs/a.json", "{}\n", "used by no spec"),
    ("docs", "README.md", "[a](missing.md)\n", "leads nowhere"),
    ("docs", "README.md", "[a](docs/architecture.md#part)\n", "no heading #part"),
    ("docs", "docs/architecture.md", "# Page\n", "the phase `first` has no row"),
    ("docs", "dialects/X/Transforms/Passes.td", "def P : Pass<\"p\"> {\n}\n", "0 sentence"),
]


def run(lint, changes):
    with tempfile.TemporaryDirectory() as tree:
        for name, text in {**GOOD, **changes}.items():
            os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
            with open(os.path.join(tree, name), "w", encoding="utf-8") as file:
                file.write(text)
        command = [sys.executable, os.path.join(HERE, f"check_{lint}.py"), tree] + [MOEC_OPT] * (lint == "examples")
        return subprocess.run(command, capture_output=True, text=True)


def main():
    failed = 0
    for lint in ("layers", "sizes", "format", "methods", "docs", "examples"):
        result = run(lint, {})
        if result.returncode not in (0, 77):
            failed += 1
            print(f"check_{lint}.py finds fault with a good tree:\n{result.stdout}{result.stderr}")
    for lint, name, text, words in FAULTS:
        result = run(lint, {name: text})
        if result.returncode == 77:
            print(f"check_{lint}.py skipped")
        elif words is None:
            # A page is known by its name too, whatever its heading.
            failed += result.returncode != 0
        elif result.returncode == 0 or words not in result.stdout:
            failed += 1
            print(f"check_{lint}.py does not say '{words}' about {name}:\n{result.stdout}{result.stderr}")
    print(f"test_lints.py: {len(FAULTS)} faults tried, {failed} not found")
    sys.exit(1 if failed else 0)


main()
