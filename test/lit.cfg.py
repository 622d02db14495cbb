# A new folder of tests needs no registration: every .mlir (passes) and .test (command line) below test/ is one.
import os
import sys

import lit.formats

config.name = "moec"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["CMakeLists.txt", "Inputs"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.moec_build_dir, "test")
tools = [os.path.join(config.moec_build_dir, "bin"), config.llvm_tools_dir]
config.environment["PATH"] = os.pathsep.join(tools + [os.environ["PATH"]])
config.substitutions.append(("%root", os.path.dirname(config.test_source_root)))
config.substitutions.append(("%python", sys.executable))
# A pass that never ends must fail, not hang the run (needs psutil).
try:
    import psutil  # noqa: F401

    lit_config.maxIndividualTestTime = 120
except ImportError:
    pass
