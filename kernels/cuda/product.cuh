// Products of rows with weights: out [M, N] = x [M, K] · w [N, K] transposed.
//
// Weights lie in tiles of 16 outputs, in a gated layer of 8 gates and the 8 outputs that they gate. A row's bits depend on the row alone: the sum
// over K is cut into 8 slices of whole chunks of 32, each summed in order, and the slices are added in order, whichever kernel does it.
//
// In bf16 a chunk of a tile is what the 32 lanes of a warp hold of it for multiply_add, 16 bytes a lane and half: lane (g, t) holds row g and row
// g + 8 at inputs 8t + 4h and the three after it, h being the half. So a lane reads 16 bytes at 8t of a chunk of a row.

#define SLICES 8

struct ProductArguments {
  const Element *x;   // [M, stride]
  const Element *w;   // [tiles, chunks, 2, 32, 8], in fp32 [tiles, 16, chunks · 32]
  const float *bias;  // [tiles, 16] or null
  void *out;          // [M, out_stride] of fp32; behind an activation of elements
  int rows;
  int chunks;
  int stride;
  int outputs;
  int out_stride;
  int sink;  // one of those below
  float softcap;
};

#define STORE 0
#define ADD 1
#define SWIGLU 2
#define RELU2 3
#define GELU_TANH 4

// Writes what a lane has of a row: outputs g and g + 8 of a tile.
DEVICE void put(const ProductArguments &a, int tile, int g, int row, float low, float high) {
  if (row >= a.rows) return;
  if (a.bias) {
    low = __fadd_rn(low, a.bias[tile * 16 + g]);
    high = __fadd_rn(high, a.bias[tile * 16 + g + 8]);
  }
  u64 from = (u64)row * a.out_stride;
  if (a.sink == SWIGLU) {
    int n = tile * 8 + g;
    if (n < a.outputs) store_element((Element *)a.out + from + n, __fmul_rn(low / (1.0f + expf(-low)), high));
    return;
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int n = tile * 16 + g + 8 * half;
    float x = half ? high : low;
    if (n >= a.outputs) continue;
    if (a.sink == RELU2) {
      x = fmaxf(x, 0.0f);
      store_element((Element *)a.out + from + n, __fmul_rn(x, x));
    } else if (a.sink == GELU_TANH) {
      float inner = __fmul_rn(__fmaf_rn(__fmul_rn(0.044715f, __fmul_rn(x, x)), x, x), 0.7978846f);
      store_element((Element *)a.out + from + n, __fmul_rn(__fmul_rn(0.5f, x), 1.0f + tanhf(inner)));
    } else {
      float *to = (float *)a.out + from + n;
      if (a.softcap > 0) x = __fmul_rn(tanhf(x / a.softcap), a.softcap);
      *to = a.sink == ADD ? __fadd_rn(*to, x) : x;
    }
  }
}

#ifdef FP32
// One warp for outputs g and g + 8 of a tile and up to 8 rows.
KERNEL(product, 256, ProductArguments) {
  let_next_begin();
  wait_for_inputs();
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, tile = blockIdx.x, width = a.chunks * 32;
  const float *low = a.w + ((u64)tile * 16 + warp) * width, *high = low + (u64)8 * width;
  float sums[8][2] = {};
  for (int k = lane * 4; k < width; k += 128) {
    float4 l = *(const float4 *)(low + k), h = *(const float4 *)(high + k);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      int row = min((int)blockIdx.y * 8 + j, a.rows - 1);
      float4 x = *(const float4 *)(a.x + (u64)row * a.stride + k);
      sums[j][0] = __fmaf_rn(x.x, l.x, __fmaf_rn(x.y, l.y, __fmaf_rn(x.z, l.z, __fmaf_rn(x.w, l.w, sums[j][0]))));
      sums[j][1] = __fmaf_rn(x.x, h.x, __fmaf_rn(x.y, h.y, __fmaf_rn(x.z, h.z, __fmaf_rn(x.w, h.w, sums[j][1]))));
    }
  }
#pragma unroll
  for (int j = 0; j < 8; j++) {
    float l = warp_sum(sums[j][0]), h = warp_sum(sums[j][1]);
    if (lane == j) put(a, tile, warp, blockIdx.y * 8 + j, l, h);
  }
}
#else

DEVICE uint4 zeros() {
  uint4 none = {0, 0, 0, 0};
  return none;
}

// Up to 8·T rows: a warp for each slice of a tile.
template <int T, int DEPTH>
DEVICE void few(const ProductArguments &a) {
  SHARED float sums[SLICES][T][4][32];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, tile = blockIdx.x;
  int begin = a.chunks * warp / SLICES, end = a.chunks * (warp + 1) / SLICES;
  const uint4 *w = (const uint4 *)a.w + (u64)tile * a.chunks * 64 + lane;
  uint4 ahead[DEPTH][2];
#pragma unroll
  for (int d = 0; d < DEPTH; d++) {
    bool is_there = begin + d < end;
    ahead[d][0] = is_there ? w[(u64)(begin + d) * 64] : zeros();
    ahead[d][1] = is_there ? w[(u64)(begin + d) * 64 + 32] : zeros();
  }
  let_next_begin();
  wait_for_inputs();
  const Element *x[T];
#pragma unroll
  for (int j = 0; j < T; j++) x[j] = a.x + (u64)min(j * 8 + g, a.rows - 1) * a.stride + 8 * t;
  float acc[T][4] = {};
  for (int c = begin; c < end; c += DEPTH) {
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
      uint4 w0 = ahead[d][0], w1 = ahead[d][1];
      bool is_next = c + d + DEPTH < end;
      ahead[d][0] = is_next ? w[(u64)(c + d + DEPTH) * 64] : zeros();
      ahead[d][1] = is_next ? w[(u64)(c + d + DEPTH) * 64 + 32] : zeros();
      int chunk = min(c + d, end - 1);
#pragma unroll
      for (int j = 0; j < T; j++) {
        uint4 b = *(const uint4 *)(x[j] + chunk * 32);
        multiply_add(acc[j], w0.x, w0.y, w0.z, w0.w, b.x, b.y);
        multiply_add(acc[j], w1.x, w1.y, w1.z, w1.w, b.z, b.w);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < T; j++)
#pragma unroll
    for (int r = 0; r < 4; r++) sums[warp][j][r][lane] = acc[j][r];
  block_barrier();
  for (int at = threadIdx.x; at < T * 64; at += 256) {
    int j = at / 64, e = at / 32 % 2;
    float low = 0, high = 0;
#pragma unroll
    for (int slice = 0; slice < SLICES; slice++) {
      low = __fadd_rn(low, sums[slice][j][e][lane]);
      high = __fadd_rn(high, sums[slice][j][e + 2][lane]);
    }
    put(a, tile, g, j * 8 + 2 * t + e, low, high);
  }
}

KERNEL(product_8, 256, ProductArguments) { few<1, 4>(a); }
KERNEL(product_16, 256, ProductArguments) { few<2, 4>(a); }
KERNEL(product_32, 256, ProductArguments) { few<4, 4>(a); }
KERNEL(product_64, 256, ProductArguments) { few<8, 2>(a); }

// Many rows: each of the 4 warps has 2 tiles and 32 rows, and goes through the slices one after another.
KERNEL(product_many, 128, ProductArguments) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  int tiles = (a.outputs * (a.sink == SWIGLU ? 2 : 1) + 15) / 16;
  int tile = blockIdx.x * 4 + warp % 2 * 2, row = blockIdx.y * 64 + warp / 2 * 32;
  const uint4 *w[2];
#pragma unroll
  for (int r = 0; r < 2; r++) w[r] = (const uint4 *)a.w + (u64)min(tile + r, tiles - 1) * a.chunks * 64 + lane;
  let_next_begin();
  wait_for_inputs();
  if (tile >= tiles || row >= a.rows) return;
  const Element *x[4];
#pragma unroll
  for (int j = 0; j < 4; j++) x[j] = a.x + (u64)min(row + j * 8 + g, a.rows - 1) * a.stride + 8 * t;
  float total[2][4][4] = {}, acc[2][4][4] = {};
  uint4 v[2][2], b[4];
#pragma unroll
  for (int r = 0; r < 2; r++) v[r][0] = w[r][0], v[r][1] = w[r][32];
#pragma unroll
  for (int j = 0; j < 4; j++) b[j] = *(const uint4 *)x[j];
  int slice = 0, end = a.chunks / SLICES;
  for (int c = 0; c < a.chunks; c++) {
    // A slice without chunks adds zero, as it does where each slice has a warp.
    while (c >= end) {
#pragma unroll
      for (int r = 0; r < 2; r++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
          for (int e = 0; e < 4; e++) total[r][j][e] = __fadd_rn(total[r][j][e], acc[r][j][e]), acc[r][j][e] = 0;
      slice++;
      end = a.chunks * (slice + 1) / SLICES;
    }
    uint4 now[2][2], rows[4];
    int next = min(c + 1, a.chunks - 1);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      now[r][0] = v[r][0], now[r][1] = v[r][1];
      v[r][0] = w[r][(u64)next * 64], v[r][1] = w[r][(u64)next * 64 + 32];
    }
#pragma unroll
    for (int j = 0; j < 4; j++) rows[j] = b[j], b[j] = *(const uint4 *)(x[j] + next * 32);
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        multiply_add(acc[r][j], now[r][0].x, now[r][0].y, now[r][0].z, now[r][0].w, rows[j].x, rows[j].y);
        multiply_add(acc[r][j], now[r][1].x, now[r][1].y, now[r][1].z, now[r][1].w, rows[j].z, rows[j].w);
      }
  }
#pragma unroll
  for (int r = 0; r < 2; r++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float low = __fadd_rn(total[r][j][e], acc[r][j][e]), high = __fadd_rn(total[r][j][e + 2], acc[r][j][e + 2]);
        if (tile + r < tiles) put(a, tile + r, g, row + j * 8 + 2 * t + e, low, high);
      }
}
#endif
