#include "runtime/comm/Exchange.h"

#include <algorithm>

namespace moec::rt {

std::string_view kindName(ExchangeKind kind) {
  switch (kind) {
  case ExchangeKind::Barrier:
    return "barrier";
  case ExchangeKind::Broadcast:
    return "broadcast";
  case ExchangeKind::AllGather:
    return "all_gather";
  case ExchangeKind::AllToAll:
    return "all_to_all";
  case ExchangeKind::ExchangeRows:
    return "exchange_rows";
  case ExchangeKind::Control:
    return "start check";
  }
  return "unknown operation";
}

std::string rankList(const std::vector<int> &ranks) {
  constexpr size_t kNamed = 12;
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  size_t named = 0;
  for (size_t i = 0; i < ranks.size();) {
    size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1)
      ++end;
    if (++named > kNamed)
      return text + ", ... (" + std::to_string(ranks.size()) + " in all)";
    text += (i ? ", " : "") + std::to_string(ranks[i]);
    // "0, 1", but "0-2".
    if (end - i == 2)
      text += ", " + std::to_string(ranks[i + 1]);
    else if (end - i > 2)
      text += "-" + std::to_string(ranks[end - 1]);
    i = end;
  }
  return text;
}

std::string CommGroup::text() const { return "group " + std::to_string(id) + " (" + rankList(ranks) + ")"; }

std::string describeOperation(const ExchangeHeader &header) {
  std::string_view name(header.name, std::find(std::begin(header.name), std::end(header.name), '\0') - header.name);
  return std::string(kindName(header.kind)) + " of \"" + std::string(name) + "\" (instruction " +
         std::to_string(header.instruction) + ")";
}

static bool isSameSite(const ExchangeHeader &a, const ExchangeHeader &b) {
  return a.kind == b.kind && a.sequence == b.sequence && a.instruction == b.instruction &&
         std::equal(std::begin(a.name), std::end(a.name), b.name);
}

Status checkAgreement(const Exchange &exchange, const ExchangeHeader &sender, const ExchangeHeader &receiver,
                      uint64_t expectedBytes) {
  std::string where = ", operation " + std::to_string(receiver.sequence) + " of " + exchange.group->text();
  if (!isSameSite(sender, receiver)) {
    const ExchangeHeader &low = sender.rank < receiver.rank ? sender : receiver;
    const ExchangeHeader &high = sender.rank < receiver.rank ? receiver : sender;
    return Status::error("MOEC-N005", exchange.section, "rank ", low.rank, " is at ", describeOperation(low),
                         " and rank ", high.rank, " at ", describeOperation(high), where,
                         "; all ranks of a group must run the same operations in the same order");
  }
  if (sender.unit != receiver.unit) {
    const ExchangeHeader &low = sender.rank < receiver.rank ? sender : receiver;
    const ExchangeHeader &high = sender.rank < receiver.rank ? receiver : sender;
    bool rows = low.kind == ExchangeKind::ExchangeRows;
    return Status::error("MOEC-N005", exchange.section, "rank ", low.rank, " has ", low.unit, " bytes and rank ",
                         high.rank, " has ", high.unit, rows ? " bytes for each row in " : " bytes for each rank in ",
                         describeOperation(low), where, "; all ranks must have the same number");
  }
  if (sender.bytes != expectedBytes)
    return Status::error("MOEC-N005", exchange.section, "rank ", sender.rank, " sends ", sender.bytes,
                         " bytes to rank ", receiver.rank, ", which expects ", expectedBytes, ", in ",
                         describeOperation(sender), where,
                         sender.unit ? "; rows have " + std::to_string(sender.unit) + " bytes" : "");
  return Status::ok();
}

} // namespace moec::rt
