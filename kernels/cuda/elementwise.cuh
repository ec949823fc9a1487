// Embeddings, norms, rotations. Shapes: M rows, C channels, H query heads, K key-value heads, D head dim, P positions.

struct EmbedArguments {
  float *stream;             // [M, C]
  float *first;              // [M, C] or null: the same once more, for layers that add it
  const Element *table;      // [V, C]
  const Element *positions;  // [P, C] or null
  const int *tokens;         // [M]
  const Row *rows;           // [M]
  int width;
  int is_normed;  // by an RMS norm without gain
  float eps;
};

KERNEL(embed_rows, 256, EmbedArguments) {
  let_next_begin();
  wait_for_inputs();
  int row = blockIdx.x, width = a.width, position = max(a.rows[row].position, 0);
  const Element *from = a.table + (u64)a.tokens[row] * width;
  float squares = 0;
  for (int c = threadIdx.x; c < width; c += 256) {
    float x = load_element(from + c);
    if (a.positions) x += load_element(a.positions + (u64)position * width + c);
    squares = __fmaf_rn(x, x, squares);
  }
  float scale = 1;
  if (a.is_normed) scale = 1.0f / sqrtf(block_sum(squares) / width + a.eps);
  for (int c = threadIdx.x; c < width; c += 256) {
    float x = load_element(from + c);
    if (a.positions) x += load_element(a.positions + (u64)position * width + c);
    x = __fmul_rn(x, scale);
    a.stream[(u64)row * width + c] = x;
    if (a.first) a.first[(u64)row * width + c] = x;
  }
}

struct NormArguments {
  float *stream;       // [M, C]
  const float *first;  // [M, C] or null: the stream becomes stays · stream + returns · first before anything else
  const float *gain;   // [C] or null
  const float *bias;   // [C] or null: with it a layer norm
  const int *chosen;   // [rows of the output] or null: which rows of the stream are normed
  Element *out;        // [rows, stride] or null
  float *wide;         // [rows, C] or null
  int width;
  int stride;
  float eps;
  float stays;
  float returns;
};

KERNEL(norm_rows, 256, NormArguments) {
  let_next_begin();
  wait_for_inputs();
  int row = blockIdx.x, width = a.width;
  u64 from = (u64)(a.chosen ? a.chosen[row] : row) * width;
  float *x = a.stream + from;
  float sum = 0;
  for (int c = threadIdx.x; c < width; c += 256) {
    float value = x[c];
    if (a.first) {
      value = __fmaf_rn(value, a.stays, __fmul_rn(a.first[from + c], a.returns));
      x[c] = value;
    }
    sum = a.bias ? __fadd_rn(sum, value) : __fmaf_rn(value, value, sum);
  }
  sum = block_sum(sum);
  float mean = 0, scale;
  if (a.bias) {
    mean = sum / width;
    float squares = 0;
    for (int c = threadIdx.x; c < width; c += 256) {
      float away = x[c] - mean;
      squares = __fmaf_rn(away, away, squares);
    }
    scale = 1.0f / sqrtf(block_sum(squares) / width + a.eps);
  } else {
    scale = 1.0f / sqrtf(sum / width + a.eps);
  }
  for (int c = threadIdx.x; c < width; c += 256) {
    float value = __fmul_rn(x[c] - mean, scale);
    if (a.gain) value = __fmul_rn(value, a.gain[c]);
    if (a.bias) value = __fadd_rn(value, a.bias[c]);
    if (a.out) store_element(a.out + (u64)row * a.stride + c, value);
    if (a.wide) a.wide[(u64)row * width + c] = value;
  }
}

struct TurnArguments {
  const float *projected;     // [M, (H + 2K)·D]
  Element *queries;           // [M, H, padded D]
  Element *keys;              // blocks of keys, see attention.cuh
  Element *values;            // blocks of values
  const float *cos;           // [P, D/2] or null: no rotation
  const float *sin;           // [P, D/2]
  const float *query_gain;    // [D] or null
  const float *key_gain;      // [D] or null
  const Element *normed;      // [M, stride]: what the layer read, for the gates of the value embedding
  const Element *embeddings;  // [V, K·D] or null: a value embedding
  const float *gates;         // [K, channels]
  const int *tokens;          // [M]
  const Row *rows;            // [M]
  int heads;
  int kv_heads;
  int dim;
  int stride;
  int channels;  // that a gate reads
  int is_normed;
  int is_rotated_first;
  float eps;
};

// The RMS norm of a head that lies in shared memory, by its warp.
DEVICE void norm_head(float *head, const float *gain, int dim, float eps) {
  int lane = threadIdx.x % 32;
  float squares = 0;
  for (int d = lane; d < dim; d += 32) squares = __fmaf_rn(head[d], head[d], squares);
  float scale = 1.0f / sqrtf(warp_sum(squares) / dim + eps);
  for (int d = lane; d < dim; d += 32) {
    float x = __fmul_rn(head[d], scale);
    head[d] = gain ? __fmul_rn(x, gain[d]) : x;
  }
  warp_barrier();
}

DEVICE void rotate_head(float *head, const float *cos, const float *sin, int dim) {
  int half = dim / 2;
  for (int d = threadIdx.x % 32; d < half; d += 32) {
    float x = head[d], y = head[d + half];
    head[d] = __fmaf_rn(x, cos[d], -__fmul_rn(y, sin[d]));
    head[d + half] = __fmaf_rn(y, cos[d], __fmul_rn(x, sin[d]));
  }
  warp_barrier();
}

// 2·σ of the product of what the layer read and a gate's weights.
DEVICE float value_gate(const TurnArguments &a, int row, int head) {
  float product = 0;
  for (int c = threadIdx.x % 32; c < a.channels; c += 32)
    product = __fmaf_rn(load_element(a.normed + (u64)row * a.stride + c), a.gates[head * a.channels + c], product);
  return 2.0f / (1.0f + expf(-warp_sum(product)));
}

// Queries normed and rotated; keys too, and into the cache with the values.
KERNEL(turn_heads, 128, TurnArguments) {
  SHARED float all[4][HEAD_CHUNKS * 32];
  let_next_begin();
  wait_for_inputs();
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.y, dim = a.dim;
  int at = blockIdx.x * 4 + warp, padded = HEAD_CHUNKS * 32;
  Row place = a.rows[row];
  if (at >= a.heads + 2 * a.kv_heads || place.position < 0) return;
  float *head = all[warp];
  const float *from = a.projected + ((u64)row * (a.heads + 2 * a.kv_heads) + at) * dim;
  for (int d = lane; d < dim; d += 32) head[d] = from[d];
  warp_barrier();
  if (at < a.heads + a.kv_heads) {
    const float *gain = at < a.heads ? a.query_gain : a.key_gain;
    u64 angles = (u64)place.position * (dim / 2);
    if (a.is_normed && !a.is_rotated_first) norm_head(head, gain, dim, a.eps);
    if (a.cos) rotate_head(head, a.cos + angles, a.sin + angles, dim);
    if (a.is_normed && a.is_rotated_first) norm_head(head, gain, dim, a.eps);
  }
  if (at < a.heads) {
    Element *query = a.queries + ((u64)row * a.heads + at) * padded;
    for (int d = lane; d < dim; d += 32) store_element(query + d, head[d]);
    return;
  }
  int is_value = at >= a.heads + a.kv_heads, kv = at - a.heads - (is_value ? a.kv_heads : 0);
  float gate = is_value && a.embeddings ? value_gate(a, row, kv) : 0;
  u64 block = (u64)(place.slot / 32) * a.kv_heads + kv;
  int key = place.slot % 32;
  for (int d = lane; d < dim; d += 32) {
    float x = head[d];
    if (is_value && a.embeddings)
      x = __fmaf_rn(load_element(a.embeddings + ((u64)a.tokens[row] * a.kv_heads + kv) * dim + d), gate, x);
    // Finite, so that a masked key of a block that was another's adds nothing.
    x = fminf(fmaxf(x, -LARGEST), LARGEST);
#ifdef FP32
    int is_by_dim = !is_value;
#else
    int is_by_dim = is_value;
#endif
    u64 to = is_by_dim ? (block * padded + d) * 32 + key : (block * 32 + key) * padded + d;
    store_element((is_value ? a.values : a.keys) + to, x);
  }
}
