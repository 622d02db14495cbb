#ifndef MOEC_DIALECTS_TILE_IR_TILEINTERFACES_TD
#define MOEC_DIALECTS_TILE_IR_TILEINTERFACES_TD

include "mlir/IR/OpBase.td"

def Tile_WorkOpInterface : OpInterface<"WorkOpInterface"> {
  let cppNamespace = "::moec::tile";
  let description = "The op of a kernel that defines its tiles; each kernel has one.";
  let methods = [
    InterfaceMethod<"Bytes of shared memory that the template takes with this schedule", "int64_t", "getSharedBytes",
                    (ins "::moec::tile::ScheduleAttr":$schedule)>,
    InterfaceMethod<"Tiles, splits included, when every group is as large as it can be", "int64_t", "getTileCount",
                    (ins "::moec::tile::ScheduleAttr":$schedule)>,
    InterfaceMethod<"Rules that need the whole kernel", "::mlir::LogicalResult", "verifyWork", (ins),
                    /*methodBody=*/"", /*defaultImplementation=*/"return ::mlir::success();">,
  ];
}

#endif
