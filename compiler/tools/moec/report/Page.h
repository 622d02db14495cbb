// The report: one page about some runs, whole in itself.
#ifndef MOEC_COMPILER_TOOLS_MOEC_REPORT_PAGE_H
#define MOEC_COMPILER_TOOLS_MOEC_REPORT_PAGE_H

#include "compiler/tools/moec/report/RunLog.h"

namespace moec::report {

/// Well-formed as XML too. The same runs give the same bytes.
std::string reportPage(const std::vector<RunLog> &runs);

/// What every page begins with: a report may replace an older one.
extern const char *const kPageBeginning;
/// What stands between <style> and <script>.
extern const char *const kPageStyle;
extern const char *const kPageScript;

} // namespace moec::report

#endif
