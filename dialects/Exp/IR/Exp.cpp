// The exp dialect itself, its one attribute, and locations of fields.
#include "dialects/Exp/IR/Exp.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/ErrorHandling.h"

using namespace mlir;
using namespace moec::exp;

#include "dialects/Exp/IR/ExpDialect.cpp.inc"
#include "dialects/Exp/IR/ExpEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Exp/IR/ExpAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/Exp/IR/ExpOps.cpp.inc"

void ExpDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Exp/IR/ExpAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/Exp/IR/ExpOps.cpp.inc"
      >();
}

MethodRegistry &moec::exp::getMethods(MLIRContext *context) {
  return context->getOrLoadDialect<ExpDialect>()->getMethods();
}

std::string Method::findConstantWeight(MethodAttr, bool) const { return ""; }

std::vector<Conflict> Method::findConflicts(MethodAttr, Operation *, ExperimentOp) const { return {}; }

void MethodRegistry::add(std::unique_ptr<Method> method) {
  auto key = std::make_pair(method->category(), method->kind());
  if (!methods.try_emplace(key, std::move(method)).second)
    llvm::report_fatal_error(llvm::Twine("internal: two methods of category \"") + key.first + "\" have the kind \"" +
                                 key.second + "\"; a kind is the name that specs use, so each needs its own",
                             /*gen_crash_diag=*/false);
}

const Method *MethodRegistry::find(const std::string &category, const std::string &kind) const {
  auto it = methods.find({category, kind});
  return it == methods.end() ? nullptr : it->second.get();
}

std::vector<const Method *> MethodRegistry::all(const std::string &category) const {
  std::vector<const Method *> found;
  for (auto &[key, method] : methods)
    if (key.first == category)
      found.push_back(method.get());
  return found;
}

//===--- Method fields ---===//

// The verifier checks that the field exists and has its type, so these functions never fail on verified IR.
double MethodAttr::getFloat(llvm::StringRef name) const {
  auto value = getFields().getAs<FloatAttr>(name);
  return value ? value.getValueAsDouble() : 0.0;
}

int64_t MethodAttr::getInt(llvm::StringRef name) const {
  auto value = getFields().getAs<IntegerAttr>(name);
  return value ? value.getInt() : 0;
}

bool MethodAttr::getBool(llvm::StringRef name) const {
  auto value = getFields().getAs<BoolAttr>(name);
  return value && value.getValue();
}

llvm::StringRef MethodAttr::getString(llvm::StringRef name) const {
  auto value = getFields().getAs<StringAttr>(name);
  return value ? value.getValue() : llvm::StringRef();
}

llvm::ArrayRef<double> MethodAttr::getFloats(llvm::StringRef name) const {
  auto value = getFields().getAs<DenseF64ArrayAttr>(name);
  return value ? value.asArrayRef() : llvm::ArrayRef<double>();
}

//===--- Choices ---===//

void moec::exp::failOnWord(llvm::StringRef word) {
  llvm::report_fatal_error("internal: \"" + word + "\" is not one of the choices; the IR was not verified",
                           /*gen_crash_diag=*/false);
}

size_t moec::exp::findWord(const MethodAttr &attr, const std::string &key, const std::string_view *words,
                           size_t count) {
  llvm::StringRef word = attr.getString(key);
  for (size_t i = 0; i < count; ++i)
    if (word == llvm::StringRef(words[i]))
      return i;
  failOnWord(word);
}

//===--- Locations ---===//

static DictionaryAttr fieldPlaces(Operation *section) {
  auto fused = dyn_cast<FusedLoc>(section->getLoc());
  return fused ? dyn_cast_or_null<DictionaryAttr>(fused.getMetadata()) : DictionaryAttr();
}

Location moec::exp::fieldLoc(Operation *section, llvm::StringRef field) {
  if (auto places = fieldPlaces(section))
    if (auto place = places.getAs<LocationAttr>(field))
      return place;
  return section->getLoc();
}

bool moec::exp::isGiven(Operation *section, llvm::StringRef field) {
  auto places = fieldPlaces(section);
  return places && places.contains(field);
}

Location moec::exp::sectionLoc(llvm::StringRef pointer, Location place, DictionaryAttr fieldPlaces) {
  Location named = NameLoc::get(StringAttr::get(place.getContext(), pointer), place);
  return FusedLoc::get(place.getContext(), {named}, fieldPlaces);
}

std::string moec::exp::pointerOf(Operation *section) {
  Location loc = section->getLoc();
  if (auto fused = dyn_cast<FusedLoc>(loc); fused && !fused.getLocations().empty())
    loc = fused.getLocations().front();
  if (auto named = dyn_cast<NameLoc>(loc); named && named.getName().getValue().starts_with("/"))
    return named.getName().getValue().str();
  return llvm::TypeSwitch<Operation *, std::string>(section)
      .Case<ExperimentOp>([](auto) { return "/"; })
      .Case<LossOp>([](auto op) { return "/losses/" + op.getName().str(); })
      .Case<GroupOp>([](auto op) { return "/optimizer/groups/" + op.getName().str(); })
      .Case<ChangeOp>([](auto op) { return "/changes/" + op.getName().str(); })
      .Case<WatchOp>([](auto op) { return "/metrics/watch/" + op.getName().str(); })
      .Case<DatasetOp>([](auto op) { return "/data/" + op.getSplitAttr().str() + "/" + op.getName().str(); })
      .Case<AttentionOp, FfnOp, MoeOp, RouterOp, MultiTokenOp>(
          [](Operation *op) { return "/model/" + op->getName().stripDialect().str(); })
      .Default([](Operation *op) { return "/" + op->getName().stripDialect().str(); });
}

TopKPlace moec::exp::findSmallestTopK(ExperimentOp experiment) {
  auto moe = experiment.section<MoeOp>();
  TopKPlace smallest{static_cast<int64_t>(moe.getTopK()), moe, "top_k"};
  auto read = [&](Operation *section, llvm::ArrayRef<double> list) {
    for (double value : list)
      if (value < static_cast<double>(smallest.topK))
        smallest = {static_cast<int64_t>(value), section, "top_k_per_layer"};
  };
  read(moe, moe.getTopKPerLayer());
  for (ChangeOp change : experiment.sections<ChangeOp>())
    read(change, change.getTopKPerLayer());
  return smallest;
}

bool moec::exp::isMoeLayer(MoeOp moe, int64_t layer) {
  int64_t first = moe.getFirstLayer();
  return layer >= first && (layer - first) % static_cast<int64_t>(moe.getEvery()) == 0;
}
