// Pushes the activations of experts that work on the same token apart.
#include "compiler/Methods/ActivationSupport.h"

using namespace mlir;

namespace moec {
namespace {

enum class Form { Cos, Abs, Squared };
constexpr exp::Choice<Form> kForm = {"form", {{Form::Cos, "cos"}, {Form::Abs, "abs"}, {Form::Squared, "squared"}}};

class Specialization : public LossMethod {
public:
  std::string kind() const override { return "specialization"; }
  std::string summary() const override {
    return "Mean cosine between the inputs of the last products of one token's experts";
  }
  std::string source() const override {
    return "arXiv 2602.14159; the mean over pairs and tokens, the forms and `every` are ours";
  }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {kForm.field(Form::Cos, "cos: minimises the cosine, which also rewards opposite directions; abs: its "
                                   "magnitude; squared: its square"),
            {.key = "every",
             .type = FieldType::Integer,
             .fallback = "1",
             .minimum = 1,
             .maximum = 65536,
             .unit = "tokens",
             .doc = "only every n-th token counts, the first of each group of n; n divides the tokens of a sequence"}};
  }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &r, StateDeclarer &) const override {
    TokenActivations activations = buildTokenActivations(b, r, attr.getInt("every"));
    Form form = kForm.in(attr);
    if (form == Form::Cos)
      return buildMeanCosine(b, activations);
    return buildMeanOfCosines(b, activations, [&](ScalarBuilder &s, Value cosine) {
      return form == Form::Abs ? s.abs(cosine) : s.mul(cosine, cosine);
    });
  }
  bool isMean(exp::MethodAttr) const override { return true; }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, Operation *section,
                                           exp::ExperimentOp experiment) const override {
    std::vector<exp::Conflict> conflicts;
    auto data = experiment.section<exp::DataOp>();
    int64_t every = attr.getInt("every");
    if (data && static_cast<int64_t>(data.getSeqLen()) % every != 0)
      conflicts.push_back({.field = "every",
                           .text = "every " + std::to_string(every) + " does not divide the " +
                                   std::to_string(data.getSeqLen()) + " tokens of a sequence; expected a divisor",
                           .other = data,
                           .otherField = "seq_len",
                           .otherText = "seq_len is " + std::to_string(data.getSeqLen())});
    llvm::append_range(conflicts, findSingleExperts(experiment, kind(), "loss"));
    return conflicts;
  }
};

} // namespace

void registerSpecialization(exp::MethodRegistry &registry) { registry.add(std::make_unique<Specialization>()); }

} // namespace moec
