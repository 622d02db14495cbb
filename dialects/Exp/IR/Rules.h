// The rules for specs. Codes are stable, because users search for them: the code of a removed rule is not used again.
#ifndef MOEC_DIALECTS_EXP_IR_RULES_H
#define MOEC_DIALECTS_EXP_IR_RULES_H

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moec::exp {

enum class Rule {
  // The text.
  Syntax = 1,
  Utf8 = 2,
  Number = 3,
  DuplicateKey = 4,
  Depth = 5,
  Unreadable = 6,
  Extends = 7,
  ExtendsCycle = 8,
  // The fields.
  UnknownKey = 10,
  MissingKey = 11,
  WrongType = 12,
  Range = 13,
  Choice = 14,
  Name = 15,
  Unsupported = 16,
  UnknownKind = 17,
  ForeignKey = 18,
  Duration = 19,
  Version = 20,
  Length = 21,
  Derived = 22,
  Sections = 23,
  Repeated = 24,
  SweepAxis = 25,
  SweepTwice = 26,
  SweepName = 27,
  SweepMember = 28,
  // Fields against each other.
  KvHeads = 30,
  HeadDim = 31,
  TopK = 32,
  ConstantWeight = 33,
  FirstLayer = 34,
  FfnMissing = 35,
  FfnUnused = 36,
  RouterUnused = 37,
  LossUnused = 38,
  MicroBatch = 39,
  Warmup = 40,
  Vocabulary = 41,
  TooLarge = 42,
  Pattern = 43,
  NoTrainingData = 44,
  NoValidationData = 45,
  NoWeight = 46,
  NarrowState = 47,
  NarrowExperts = 48,
  NarrowExpertsUnused = 49,
  Excluded = 50,
  LayerList = 51,
  Groups = 52,
  PatternUnmatched = 53,
  PatternSplits = 54,
  OptimizerRefuses = 55,
  MetricName = 56,
  // Warnings.
  UnusedValidation = 60,
  MissingFile = 61,
  Discouraged = 62,
  // Data files.
  NoFileMatches = 63,
  FileTwice = 64,
  // Settings that would silently have no effect.
  RoundsToNothing = 75,
  NeverComes = 76,
  SameMoment = 77,
  GroupEmpty = 78,
  BeyondRun = 79, // a warning
  NoEffect = 80,  // a warning
  ImpossiblePath = 81,
  // Many ranks.
  DataRanks = 82,
  Rounds = 83,
  NotDivided = 84,
  ExpertRanks = 85,
};

struct RuleInfo {
  Rule rule;
  std::string_view title, text; // one line; the rule, its reason, and the remedy
};

/// All rules in order of code.
const std::vector<RuleInfo> &rules();
/// "MOEC-S012".
std::string codeOf(Rule rule);
/// By code, upper or lower case, with or without "MOEC-".
const RuleInfo *findRule(std::string code);

/// A rule that a value breaks, and the message.
struct Problem {
  Rule rule;
  std::string text;
};

} // namespace moec::exp

#endif
