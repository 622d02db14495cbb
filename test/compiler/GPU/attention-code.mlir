// REQUIRES: ptxas
// RUN: moec-kernels --strict-kernels --verbose-kernels %s 2>&1 | FileCheck %s
// RUN: sed 's/<600x/<65536x/g; s/seq_len 300/seq_len 2048/' %s | moec-kernels --strict-kernels --verbose-kernels - 2>&1 | FileCheck %s --check-prefix=LONG

// No spills, no products that the assembler had to serialise (either is an error here), and 168 registers at the start:
// what setmaxnreg redistributes.
// CHECK-DAG: {{attention .*168}}
// CHECK-DAG: {{attention_grad_dq .*168}}
// CHECK-DAG: {{attention_grad_dkv .*168}}
// LONG-DAG: {{attention_grad_grad .*168}}
// LONG-DAG: {{attention_grad_rows }}
// The same with a window, however long.
// LONG-DAG: {{attention_grad_window_dq .*168}}
// LONG-DAG: {{attention_grad_window_dkv .*168}}
// CHECK-DAG: {{attention_window .*168}}
// CHECK-DAG: {{attention_grad_window_dq .*168}}
// CHECK-DAG: {{attention_grad_window_dkv .*168}}
func.func @attention(%q: tensor<600x256xbf16>, %k: tensor<600x128xbf16>, %v: tensor<600x128xbf16>) {
  %o, %l = moe.dispatch "attention" (%a = %q, %b = %k, %c = %v)
      : (tensor<600x256xbf16>, tensor<600x128xbf16>, tensor<600x128xbf16>) -> (tensor<600x256xbf16>, tensor<600x2xf32>) {
    %qf = moe.cast %a : tensor<600x256xbf16> -> tensor<600x256xf32>
    %kf = moe.cast %b : tensor<600x128xbf16> -> tensor<600x128xf32>
    %vf = moe.cast %c : tensor<600x128xbf16> -> tensor<600x128xf32>
    %r, %lse = moe.attention %qf, %kf, %vf heads 2 kv_heads 1 seq_len 300 : tensor<600x256xf32>, tensor<600x128xf32> -> tensor<600x2xf32>
    %rb = moe.cast %r : tensor<600x256xf32> -> tensor<600x256xbf16>
    moe.yield %rb, %lse : tensor<600x256xbf16>, tensor<600x2xf32>
  }
  return
}

func.func @attention_grad(%q: tensor<600x256xbf16>, %k: tensor<600x128xbf16>, %v: tensor<600x128xbf16>, %o: tensor<600x256xbf16>,
                          %l: tensor<600x2xf32>) {
  %dq, %dk, %dv = moe.dispatch "attention_grad" (%a = %q, %b = %k, %c = %v, %d = %o, %e = %l)
      : (tensor<600x256xbf16>, tensor<600x128xbf16>, tensor<600x128xbf16>, tensor<600x256xbf16>, tensor<600x2xf32>)
      -> (tensor<600x256xbf16>, tensor<600x128xbf16>, tensor<600x128xbf16>) {
    %qf = moe.cast %a : tensor<600x256xbf16> -> tensor<600x256xf32>
    %kf = moe.cast %b : tensor<600x128xbf16> -> tensor<600x128xf32>
    %vf = moe.cast %c : tensor<600x128xbf16> -> tensor<600x128xf32>
    %of = moe.cast %d : tensor<600x256xbf16> -> tensor<600x256xf32>
    %x, %y, %z = moe.attention_grad %qf, %kf, %vf, %of, %e, %of heads 2 kv_heads 1 seq_len 300
      : tensor<600x256xf32>, tensor<600x128xf32>, tensor<600x2xf32>
    %xb = moe.cast %x : tensor<600x256xf32> -> tensor<600x256xbf16>
    %yb = moe.cast %y : tensor<600x128xf32> -> tensor<600x128xbf16>
    %zb = moe.cast %z : tensor<600x128xf32> -> tensor<600x128xbf16>
    moe.yield %xb, %yb, %zb : tensor<600x256xbf16>, tensor<600x128xbf16>, tensor<600x128xbf16>
  }
  return
}

func.func @attention_window(%q: tensor<600x256xbf16>, %k: tensor<600x128xbf16>, %v: tensor<600x128xbf16>) {
  %o, %l = moe.dispatch "attention" (%a = %q, %b = %k, %c = %v)
      : (tensor<600x256xbf16>, tensor<600x128xbf16>, tensor<600x128xbf16>) -> (tensor<600x256xbf16>, tensor<600x2xf32>) {
    %qf = moe.cast %a : tensor<600x256xbf16> -> tensor<600x256xf32>
    %kf = moe.cast %b : tensor<600x128xbf16> -> tensor<600x128xf32>
    %vf = moe.cast %c : tensor<600x128xbf16> -> tensor<600x128xf32>
    %r, %lse = moe.attention %qf, %kf, %vf heads 2 kv_heads 1 seq_len 300 window 140 : tensor<600x256xf32>, tensor<600x128xf32> -> tensor<600x2xf32>
    %rb = moe.cast %r : tensor<600x256xf32> -> tensor<600x256xbf16>
    moe.yield %rb, %lse : tensor<600x256xbf16>, tensor<600x2xf32>
  }
  return
}

func.func @attention_grad_window(%q: tensor<600x256xbf16>, %k: tensor<600x128xbf16>, %v: tensor<600x128xbf16>, %o: tensor<600x256xbf16>,
                          %l: tensor<600x2xf32>) {
  %dq, %dk, %dv = moe.dispatch "attention_grad" (%a = %q, %b = %k, %c = %v, %d = %o, %e = %l)
      : (tensor<600x256xbf16>, tensor<600x128xbf16>, tensor<600x128xbf16>, tensor<600x256xbf16>, tensor<600x2xf32>)
      -> (tensor<600x256xbf16>, tensor<600x128xbf16>, tensor<600x128xbf16>) {
    %qf = moe.cast %a : tensor<600x256xbf16> -> tensor<600x256xf32>
    %kf = moe.cast %b : tensor<600x128xbf16> -> tensor<600x128xf32>
    %vf = moe.cast %c : tensor<600x128xbf16> -> tensor<600x128xf32>
    %of = moe.cast %d : tensor<600x256xbf16> -> tensor<600x256xf32>
    %x, %y, %z = moe.attention_grad %qf, %kf, %vf, %of, %e, %of heads 2 kv_heads 1 seq_len 300 window 140
      : tensor<600x256xf32>, tensor<600x128xf32>, tensor<600x2xf32>
    %xb = moe.cast %x : tensor<600x256xf32> -> tensor<600x256xbf16>
    %yb = moe.cast %y : tensor<600x128xf32> -> tensor<600x128xbf16>
    %zb = moe.cast %z : tensor<600x128xf32> -> tensor<600x128xbf16>
    moe.yield %xb, %yb, %zb : tensor<600x256xbf16>, tensor<600x128xbf16>, tensor<600x128xbf16>
  }
  return
}
