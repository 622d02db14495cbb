// The plain loops that bench-rows compares with.
#include <algorithm>
#include <cmath>

void plainNorm(const float *__restrict x, const float *__restrict y, const float *__restrict scale, float *__restrict h,
               float *__restrict out, long rows, long columns) {
  for (long n = 0; n < rows; ++n) {
    float sum = 0;
    for (long c = 0; c < columns; ++c) {
      float value = x[n * columns + c] + y[n * columns + c];
      h[n * columns + c] = value;
      sum += value * value;
    }
    float factor = 1 / std::sqrt(sum / columns + 1e-5f);
    for (long c = 0; c < columns; ++c)
      out[n * columns + c] = h[n * columns + c] * factor * scale[c];
  }
}

void plainSoftmax(const float *__restrict x, float *__restrict out, long rows, long columns) {
  for (long n = 0; n < rows; ++n) {
    float most = x[n * columns], sum = 0;
    for (long c = 1; c < columns; ++c)
      most = std::max(most, x[n * columns + c]);
    for (long c = 0; c < columns; ++c)
      sum += out[n * columns + c] = std::exp(x[n * columns + c] - most);
    for (long c = 0; c < columns; ++c)
      out[n * columns + c] /= sum;
  }
}

void plainSwiglu(const float *__restrict g, const float *__restrict u, const float *__restrict d, float *__restrict h,
                 float *__restrict dg, float *__restrict du, long count) {
  for (long i = 0; i < count; ++i) {
    float s = 1 / (1 + std::exp(-g[i]));
    h[i] = g[i] * s * u[i];
    dg[i] = d[i] * u[i] * (s + g[i] * s * (1 - s));
    du[i] = d[i] * g[i] * s;
  }
}

void plainAdam(float *__restrict p, float *__restrict m, float *__restrict v, float *__restrict g, float rate,
               long count) {
  for (long i = 0; i < count; ++i) {
    m[i] = 0.9f * m[i] + 0.1f * g[i];
    v[i] = 0.95f * v[i] + 0.05f * g[i] * g[i];
    p[i] -= rate * (m[i] / (std::sqrt(v[i]) + 1e-8f) + 0.01f * p[i]);
  }
}
