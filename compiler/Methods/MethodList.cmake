# moec_write_method_list(<file> <stem>...): writes the C++ file that calls register<Stem> of each method.
function(moec_write_method_list output)
  set(declarations)
  set(calls)
  foreach(stem IN LISTS ARGN)
    string(APPEND declarations "void register${stem}(exp::MethodRegistry &);\n")
    string(APPEND calls "  register${stem}(registry);\n")
  endforeach()
  file(CONFIGURE OUTPUT ${output} @ONLY CONTENT [[
// Written by CMake: see compiler/Methods/MethodList.cmake.
#include "compiler/Methods/Methods.h"
namespace moec {
@declarations@
void registerMethods(exp::MethodRegistry &registry) {
@calls@}
} // namespace moec
]])
endfunction()
