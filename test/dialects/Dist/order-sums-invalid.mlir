// RUN: moec-opt %s -verify-diagnostics -dist-order-sums='micro-batches=2'

// expected-error @+1 {{has no function forward_backward whose sums to order}}
module {
}
