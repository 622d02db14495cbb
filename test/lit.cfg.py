# A new folder of tests needs no registration: every .mlir (passes) and .test (command line) below test/ is one.
import os
import shutil
import sys

import lit.formats

config.name = "moec"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["CMakeLists.txt", "Inputs"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.moec_build_dir, "test")
tools = [os.path.join(config.moec_build_dir, "bin"), config.llvm_tools_dir]
# Other programs under the same names: test/methods runs tests with a moec that knows more methods.
if "tools" in lit_config.params:
    tools.insert(0, lit_config.params["tools"])
config.environment["PATH"] = os.pathsep.join(tools + [os.environ["PATH"]])
config.substitutions.append(("%root", os.path.dirname(config.test_source_root)))
config.substitutions.append(("%python", sys.executable))
# An assembler for GPU kernels, as compiler/Target/GPU/Assembler.h looks for it. Tests keep a cache of their own.
places = [os.environ.get("CUDA_HOME", "") + "/bin", os.environ["PATH"], "/usr/local/cuda/bin"]
ptxas = os.environ.get("MOEC_PTXAS") or shutil.which("ptxas", path=os.pathsep.join(places))
if ptxas and ptxas != "none":
    config.available_features.add("ptxas")
    config.environment["MOEC_PTXAS"] = ptxas
if config.moec_linked_assembler:
    config.available_features.add("linked-assembler")
config.environment["MOEC_CACHE"] = os.path.join(config.test_exec_root, "kernel-cache")
# A pass that never ends must fail, not hang the run (needs psutil).
try:
    import psutil  # noqa: F401

    lit_config.maxIndividualTestTime = 120
except ImportError:
    pass
