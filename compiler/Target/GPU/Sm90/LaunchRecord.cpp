#include "compiler/Target/GPU/Sm90/LaunchRecord.h"

using namespace mlir;

namespace moec::sm90 {

DictionaryAttr launchRecord(tile::KernelOp kernel) {
  Builder b(kernel.getContext());
  auto number = [&](StringRef name, int64_t value) { return b.getNamedAttr(name, b.getI64IntegerAttr(value)); };
  SmallVector<Attribute> maps;
  for (tile::MapOp map : tile::mapsOf(kernel)) {
    StringRef dtype = map.getElement().isBF16() ? "bf16" : map.getElement().isF32() ? "f32" : "f8e4m3";
    maps.push_back(
        b.getDictionaryAttr({number("param", map.getParam()), number("offset", map.getOffset()),
                             b.getNamedAttr("dtype", b.getStringAttr(dtype)), b.getNamedAttr("dims", map.getDimsAttr()),
                             b.getNamedAttr("strides", map.getStridesAttr()), b.getNamedAttr("box", map.getBoxAttr()),
                             number("swizzle", map.getSwizzle())}));
  }
  return b.getDictionaryAttr({number("threads", kernel.getSchedule().getThreads()),
                              number("shared", kernel.getSharedBytes()), b.getNamedAttr("maps", b.getArrayAttr(maps))});
}

} // namespace moec::sm90
