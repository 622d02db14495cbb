# moec_tablegen(<target> <file.td> OUT <flags...> [OUT <flags...>]...)
# Each "Name.inc -gen-x ..." is one output, placed in the build tree at the same relative path as the .td. The depfile makes
# an edit of any included .td rerun it; --write-if-changed keeps a comment edit from rebuilding C++.
function(moec_tablegen target td)
  cmake_path(ABSOLUTE_PATH td BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
  file(RELATIVE_PATH rel ${PROJECT_SOURCE_DIR} ${td})
  cmake_path(GET rel PARENT_PATH relDir)
  set(outDir ${PROJECT_BINARY_DIR}/${relDir})
  file(MAKE_DIRECTORY ${outDir})
  set(outs)
  set(cur)
  set(flags)
  foreach(word IN LISTS ARGN ITEMS "END.inc")
    if(word MATCHES "\\.(inc|md)$")
      if(cur)
        set(out ${outDir}/${cur})
        add_custom_command(OUTPUT ${out}
          COMMAND mlir-tblgen ${flags} -I ${PROJECT_SOURCE_DIR} -I ${MLIR_INCLUDE_DIRS}
                  --write-if-changed -d ${out}.d -o ${out} ${td}
          DEPENDS ${td} DEPFILE ${out}.d
          COMMENT "tblgen ${relDir}/${cur}" VERBATIM)
        list(APPEND outs ${out})
      endif()
      set(cur ${word})
      set(flags)
    else()
      list(APPEND flags ${word})
    endif()
  endforeach()
  add_custom_target(${target} DEPENDS ${outs})
endfunction()

# moec_precompile(<name>): what includes headers of MLIR. One precompiled header serves all.
function(moec_precompile name)
  add_dependencies(${name} MoecTablegen)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    target_precompile_headers(${name} REUSE_FROM MoecPch)
  endif()
endfunction()

# moec_compiler_library(<name> SOURCES... [LINK libs...]): a static library of compiler code.
function(moec_compiler_library name)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  add_library(${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC moec_mlir ${arg_LINK})
  moec_precompile(${name})
endfunction()
