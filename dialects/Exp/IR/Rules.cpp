// The texts of every rule; docs/spec/errors.md is written from them.
#include "dialects/Exp/IR/Rules.h"

#include <cctype>
#include <cstdio>

using namespace moec::exp;

const std::vector<RuleInfo> &moec::exp::rules() {
  static const std::vector<RuleInfo> table = {
      {Rule::Syntax, "the text is not JSON",
       "JSON with `//` and `/* */` comments. A comma after the last member is an error. Only the first such error of a "
       "file is reported."},
      {Rule::Utf8, "the text is not UTF-8", "Save the file as UTF-8. A mark at its beginning (BOM) is refused too."},
      {Rule::Number, "a number is malformed",
       "Numbers are those of JSON: no leading zero or plus, a digit on both sides of the point, inside the range of a "
       "double."},
      {Rule::DuplicateKey, "one object has a key twice", "JSON readers silently take the last; here it is an error."},
      {Rule::Depth, "values are nested too deep", "At most 64 levels."},
      {Rule::Unreadable, "a file cannot be read",
       "The spec, or a file that it extends, is missing or may not be read."},
      {Rule::Extends, "`extends` does not name a file", "One path, relative to the file in which it stands."},
      {Rule::ExtendsCycle, "files extend each other in a circle",
       "A file may not extend itself, directly or through others."},
      {Rule::UnknownKey, "a key is not in the language",
       "Unknown keys are refused, so that a typo does not turn into a default."},
      {Rule::MissingKey, "a required key is missing", "The key has no default."},
      {Rule::WrongType, "a value is of the wrong type", "The message says which type is expected."},
      {Rule::Range, "a number is out of range", "The message says which range is accepted."},
      {Rule::Choice, "a word is not one of the choices", "The message lists the choices."},
      {Rule::Name, "a name has characters that names may not have, or too many",
       "Names of losses, groups and datasets are made of a-z, 0-9 and _; the name of the experiment may have A-Z, `-` "
       "and `.` too, begins with a letter, a digit or _, and does not end in .moec or .new. At most 200 characters, "
       "the experiment's 240. "
       "They name metrics and files."},
      {Rule::Unsupported, "the language has this key, but this version does not support it",
       "Remove it, or set it to null. It is refused because ignoring it would train another experiment than the one "
       "declared."},
      {Rule::UnknownKind, "no method has this kind", "The message lists the methods of the category."},
      {Rule::ForeignKey, "the key does not belong to this kind", "Keys beside `kind` belong to that kind alone."},
      {Rule::Duration, "a length of training is not {\"steps\": n}, {\"tokens\": n} or {\"fraction\": x}",
       "Exactly one of the three. The run as a whole cannot be a fraction of itself."},
      {Rule::Version, "the language version is not one this compiler reads", "Write \"moec\": 1."},
      {Rule::Length, "a list has the wrong number of elements", "The message says how many are expected."},
      {Rule::Derived, "a default cannot be computed", "The default is a quotient that is not whole; give the value."},
      {Rule::Sections, "a section is missing, or there are two", "Met only in hand-written exp IR."},
      {Rule::Repeated, "two sections have the same name", "Met only in hand-written exp IR."},
      {Rule::SweepAxis, "an axis of a sweep is malformed",
       "An axis has a field and a list of values for it, or named variants. The axes multiply to at most 1000 "
       "members."},
      {Rule::SweepTwice, "two axes of a sweep change the same field",
       "One would overwrite the other. Put both changes into the variants of one axis."},
      {Rule::SweepName, "members of a sweep cannot be told apart by name",
       "Names of members, and of their folders, are made of values. Values whose names would be equal, empty or too "
       "long need variants, which you name."},
      {Rule::SweepMember, "a sweep is given where one experiment is wanted",
       "Name a member with --member; the message lists them, and `moec check --explain` says what each changes."},
      {Rule::KvHeads, "num_kv_heads does not divide num_heads",
       "Each key-value head serves the same number of query heads."},
      {Rule::HeadDim, "head_dim is odd", "Rotary positions turn pairs of elements."},
      {Rule::TopK, "top_k is larger than num_experts", "A token cannot go to more experts than there are."},
      {Rule::ConstantWeight, "the weight of the chosen expert is always 1",
       "With top_k 1, in any layer at any step, scores normalised over the chosen experts are 1 whatever the router "
       "says, so the router learns nothing there. "
       "Normalise before choosing, or do not normalise."},
      {Rule::FirstLayer, "no layer is a mixture",
       "layers.from must be smaller than num_layers; for a dense model set moe to null."},
      {Rule::FfnMissing, "dense layers have no ffn", "Some layers are not mixtures; model.ffn declares their block."},
      {Rule::FfnUnused, "ffn is given, but every layer is a mixture",
       "Nothing would read it. Remove it or set it to null."},
      {Rule::RouterUnused, "router is given, but there is no mixture",
       "Nothing would read it. Remove it or set it to null."},
      {Rule::LossUnused, "a loss on routers is given, but there is no mixture",
       "Nothing would read it. Remove it or set it to null."},
      {Rule::MicroBatch, "micro_sequences does not divide sequences", "A step is a whole number of micro-batches."},
      {Rule::Warmup, "a part of the schedule is longer than the run", "The run would end before this part."},
      {Rule::Vocabulary, "vocab_size is too small for the tokenizer", "The byte tokenizer makes 256 different tokens."},
      {Rule::TooLarge, "sizes multiply to more than the compiler can count",
       "One tensor may have at most 2^48 elements."},
      {Rule::Pattern, "a pattern is malformed", "Patterns know `*`, `{a,b}` and `{0..3}`; braces are not nested."},
      {Rule::NoTrainingData, "there is nothing to train on", "data.train has no source."},
      {Rule::NoValidationData, "there is nothing to validate on",
       "evaluate.every is given, but data.validation has no source."},
      {Rule::NoWeight, "all sources have weight 0", "Weights are shares, so at least one must be larger than 0."},
      {Rule::NarrowState, "a state is bf16, but compute is not",
       "precision.master, optimizer and gradients may be bf16 only if compute is bf16. Set compute to bf16, or leave "
       "them at f32."},
      {Rule::NarrowExperts, "experts are fp8, but compute is not bf16",
       "precision.experts may be fp8 only if compute is bf16. Set compute to bf16, or experts to compute."},
      {Rule::NarrowExpertsUnused, "experts are fp8, but there is no mixture",
       "Nothing would read precision.experts. Remove it, or set it to compute."},
      {Rule::Excluded, "two parts of the experiment exclude each other",
       "The message says which, why, and what to do; each method's page has the list."},
      {Rule::LayerList, "a list with one value for each mixture layer has another length",
       "One value for each layer that is a mixture, in order of the layers."},
      {Rule::Groups, "groups of experts do not fit",
       "The number of groups divides the number of experts, and the groups that a token may choose from have top_k "
       "experts or more."},
      {Rule::PatternUnmatched, "a pattern of a group matches no parameter",
       "Patterns are held against full names (`layers.3.attention.q`). A group that selects nothing is most "
       "likely a typo, and would train another experiment than the one meant."},
      {Rule::PatternSplits, "a group has only some of the layers that are updated together",
       "One kernel updates all layers of a kind, so they are in one group. Write `*` where the number of the layer "
       "stands."},
      {Rule::OptimizerRefuses, "an optimizer cannot update a parameter",
       "Some methods want matrices, or matrices of layers. The message says why, and which patterns are meant."},
      {Rule::MetricName, "two numbers of the log would have the same name",
       "Losses and measures are logged under their names, beside the numbers that every step has. Give the loss or the "
       "measure another name; the message says which number has this one."},
      {Rule::UnusedValidation, "validation data is given, but training never evaluates it",
       "A warning: only `moec eval` reads it. Give evaluate.every to see its loss during the run as well."},
      {Rule::MissingFile, "a data file does not exist",
       "A warning: the file may appear before the run, or exist on another machine."},
      {Rule::Discouraged, "two parts of the experiment work against each other",
       "A warning. The message says which, and why."},
      {Rule::NoFileMatches, "a pattern of data matches no file",
       "`*` stands for any characters within one name, except a dot at its beginning. Patterns are relative to the "
       "file in which they stand."},
      {Rule::FileTwice, "one file is in a split twice",
       "A warning when two sources read it: each counts its windows for itself. An error when one source reads it "
       "under "
       "two names: a pass would read it twice. Name each file of a split once; weights say how often it is read."},
      {Rule::RoundsToNothing, "a length is less than one step",
       "A share of the run is rounded to whole steps, and 0 steps would look like null. Give a larger share, "
       "{\"steps\": 1}, or null to switch it off."},
      {Rule::NeverComes, "a moment lies after the end of the run",
       "Moments are step numbers, as in the log: the first step is 1, and a change at step n applies to step n and all "
       "later steps. The message says which step is the last."},
      {Rule::SameMoment, "two changes of one key are at one step",
       "One would overwrite the other. Lengths in tokens or shares of the run can round to the same step."},
      {Rule::GroupEmpty, "a pattern of a group takes no parameter, because others have taken all that match",
       "The first group that matches a parameter takes it; within a group, the first pattern does. Put the group or "
       "pattern that names fewer parameters first, or remove it."},
      {Rule::BeyondRun, "a cadence or a length of a method is longer than the run",
       "A warning: what is scheduled never happens, or never ends. Give a shorter one, or null; a default that is too "
       "long is not reported. Validation, checkpoints and the log come at the last step whatever their cadence."},
      {Rule::NoEffect, "a key has no effect in this spec",
       "A warning: the model that is trained, or the run, is the same with the default of the key. Remove the key or "
       "set it to its default. In a sweep, only keys without effect in every member are reported. Keys that a weight "
       "or a learning rate of 0 switches off are not."},
      {Rule::ImpossiblePath, "a path that no file can have",
       "It holds the character \\u0000, or is longer than the system allows (4095 bytes, 255 between two slashes)."},
      {Rule::DataRanks, "the micro-batches of a step cannot be dealt out evenly",
       "The data ranks take the same number of micro-batches: parallel.data divides batch.sequences / "
       "batch.micro_sequences. The message names the nearest number that does."},
      {Rule::Rounds, "a method reads what the micro-batches before it left, but they run at the same time",
       "With parallel.data above 1, micro-batches of one step run side by side. A balance or loss that reads in one "
       "micro-batch what another one wrote has no defined result then. Use one rank, or a method or scope whose "
       "state changes once per step."},
      {Rule::NotDivided, "a part of the experiment cannot be divided over ranks yet",
       "Ranks of parallel.experts divide the tokens of a micro-batch. What needs all of these tokens at once, or all "
       "experts of a layer, is not supported by this version. The message names it; set parallel.experts to null, or "
       "use data ranks."},
      {Rule::ExpertRanks, "ranks do not divide the experts, or the sequences of a micro-batch",
       "Each rank owns as many experts and takes as many sequences: parallel.experts.expert divides both. The message "
       "names the nearest number that does."},
  };
  return table;
}

std::string moec::exp::codeOf(Rule rule) {
  char text[16];
  std::snprintf(text, sizeof text, "MOEC-S%03d", static_cast<int>(rule));
  return text;
}

const RuleInfo *moec::exp::findRule(std::string code) {
  for (char &c : code)
    c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (!code.starts_with("MOEC-"))
    code = "MOEC-" + code;
  for (const RuleInfo &info : rules())
    if (codeOf(info.rule) == code)
      return &info;
  return nullptr;
}
