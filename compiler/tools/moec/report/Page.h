// The report: one self-contained page about some runs.
#ifndef MOEC_COMPILER_TOOLS_MOEC_REPORT_PAGE_H
#define MOEC_COMPILER_TOOLS_MOEC_REPORT_PAGE_H

#include "compiler/tools/moec/report/RunLog.h"

namespace moec::report {

/// Well-formed as XML too. The same runs give the same bytes.
std::string reportPage(const std::vector<RunLog> &runs);

/// The beginning of every page, by which a report recognises an older one that it may replace.
extern const char *const kPageBeginning;
/// The contents of <style> and <script>.
extern const char *const kPageStyle;
extern const char *const kPageScript;

} // namespace moec::report

#endif
