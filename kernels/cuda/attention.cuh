// Attention over keys and values in blocks of 32 positions. Shapes: M rows, H query heads, K key-value heads, D head dim, padded to whole chunks.
//
// In bf16 a block's keys are [K, 32, D], its values [K, D, 32]; in fp32 keys are [K, D, 32], values [K, 32, D]. A row goes through its sequence's
// blocks in order, in parts of 4 blocks, each with a maximum and sums of its own; the parts are merged in order. So a row's bits are the same
// whether one warp goes through all of them or each part has a warp, and whatever other rows are in the warp's tile: a block that a row does not
// see changes nothing of its sums. (Milakov and Gimelshein 2018, arXiv:1805.02867; parts: Dao et al. 2023, Flash-Decoding.)

#define PART_BLOCKS 4
#define PADDED (HEAD_CHUNKS * 32)

// Up to 16 pairs of a query and one of its heads, which share a key-value head.
struct Tile {
  int row;    // the first; a tile's rows follow on each other in one sequence
  int count;  // 0: nothing to do
  int part;   // which part; -1: all of them
  int unused;
};

struct AttentionArguments {
  const Element *queries;  // [M, H, D]
  const Element *keys;
  const Element *values;
  Element *mixed;     // [M, stride]
  float *parts;       // [splits, parts a split, H, D]
  float2 *parts_sums; // the same without D: maximum and sum
  const int *tables;
  const Tile *tiles;
  const Row *rows;  // [M]
  int heads;
  int kv_heads;
  int dim;
  int stride;
  int window;        // 0: none
  int parts_stride;  // parts a split
  float scale;       // log2(e) / √D
};

// Sums of a row: those of what it has seen, relative to the maximum.
DEVICE void merge(float maximum, float &of_all, float &scale_all, float &scale_new) {
  float both = fmaxf(of_all, maximum), base = both == NEGATIVE_INFINITY ? 0.0f : both;
  scale_all = exp2f(of_all - base);
  scale_new = exp2f(maximum - base);
  of_all = both;
}

#ifdef FP32
// One warp for a row and a head. A key is a lane's, an output dimension too.
KERNEL(attend, 32, AttentionArguments) {
  SHARED float query[PADDED];
  let_next_begin();
  wait_for_inputs();
  int row = blockIdx.x, head = blockIdx.y, lane = threadIdx.x, kv = head / (a.heads / a.kv_heads);
  int position = a.rows[row].position;
  if (position < 0) return;
  const int *table = a.tables + a.rows[row].table;
  for (int d = lane; d < PADDED; d += 32) query[d] = a.queries[((u64)row * a.heads + head) * PADDED + d];
  warp_barrier();
  float maximum = NEGATIVE_INFINITY, sum = 0, out[HEAD_CHUNKS] = {};
  int first = a.window ? max(position + 1 - a.window, 0) / 32 : 0;
  for (int block = first; block <= position / 32; block++) {
    u64 at = ((u64)table[block] * a.kv_heads + kv) * PADDED * 32;
    const float *keys = a.keys + at, *values = a.values + at;
    float score = 0;
    for (int d = 0; d < PADDED; d++) score = __fmaf_rn(query[d], keys[d * 32 + lane], score);
    int key = block * 32 + lane;
    score = key > position || (a.window && key + a.window <= position) ? NEGATIVE_INFINITY : __fmul_rn(score, a.scale);
    float highest = score;
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) highest = fmaxf(highest, shuffle_xor(highest, lanes));
    float of_old, unused;
    merge(highest, maximum, of_old, unused);
    float weight = exp2f(score - (maximum == NEGATIVE_INFINITY ? 0.0f : maximum));
    sum = __fmaf_rn(sum, of_old, warp_sum(weight));
#pragma unroll
    for (int i = 0; i < HEAD_CHUNKS; i++) out[i] = __fmul_rn(out[i], of_old);
    for (int k = 0; k < 32; k++) {
      float of_key = shuffle_from(weight, k);
#pragma unroll
      for (int i = 0; i < HEAD_CHUNKS; i++) out[i] = __fmaf_rn(of_key, values[k * PADDED + i * 32 + lane], out[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < HEAD_CHUNKS; i++) {
    int d = i * 32 + lane;
    if (d < a.dim) a.mixed[(u64)row * a.stride + head * a.dim + d] = out[i] / sum;
  }
}
#else

// What a warp knows of a tile.
struct Span {
  int kv;            // key-value head
  int first;         // position of the first row
  int last;          // of the last
  int positions[2];  // of the lane's two rows
  const int *table;
};

// One part of a tile: maxima and sums of the lane's two rows, and the weighted values of both.
DEVICE void attend_part(const AttentionArguments &a, const Span &s, int part, const uint4 (&q)[2][HEAD_CHUNKS],
                        float (&maximum)[2], float (&sum)[2], float (&out)[PADDED / 8][4]) {
  int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  maximum[0] = maximum[1] = NEGATIVE_INFINITY;
  sum[0] = sum[1] = 0;
#pragma unroll
  for (int n = 0; n < PADDED / 8; n++) out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0;
  for (int block = part * PART_BLOCKS; block < (part + 1) * PART_BLOCKS; block++) {
    if (block * 32 > s.last) break;
    if (a.window && block * 32 + 31 + a.window <= s.first) continue;
    u64 at = ((u64)s.table[block] * a.kv_heads + s.kv) * PADDED * 32;
    float scores[4][4] = {};
#pragma unroll
    for (int c = 0; c < HEAD_CHUNKS; c++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        uint4 k = *(const uint4 *)(a.keys + at + (8 * (g / 2) + 2 * j + g % 2) * PADDED + c * 32 + 8 * t);
        multiply_add(scores[j], q[0][c].x, q[1][c].x, q[0][c].y, q[1][c].y, k.x, k.y);
        multiply_add(scores[j], q[0][c].z, q[1][c].z, q[0][c].w, q[1][c].w, k.z, k.w);
      }
    float scale_old[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float highest = NEGATIVE_INFINITY;
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          int key = block * 32 + 8 * t + 2 * j + e, position = s.positions[r];
          float &score = scores[j][2 * r + e];
          bool is_hidden = key > position || (a.window && key + a.window <= position);
          score = is_hidden ? NEGATIVE_INFINITY : __fmul_rn(score, a.scale);
          highest = fmaxf(highest, score);
        }
      highest = fmaxf(highest, shuffle_xor(highest, 1));
      highest = fmaxf(highest, shuffle_xor(highest, 2));
      float unused;
      merge(highest, maximum[r], scale_old[r], unused);
      float base = maximum[r] == NEGATIVE_INFINITY ? 0.0f : maximum[r], of_block = 0;
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          scores[j][2 * r + e] = exp2f(scores[j][2 * r + e] - base);
          of_block = __fadd_rn(of_block, scores[j][2 * r + e]);
        }
      sum[r] = __fmaf_rn(sum[r], scale_old[r], of_block);
    }
    u32 w[2][4];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      w[h][0] = pack_bf16(scores[2 * h][0], scores[2 * h][1]);
      w[h][1] = pack_bf16(scores[2 * h][2], scores[2 * h][3]);
      w[h][2] = pack_bf16(scores[2 * h + 1][0], scores[2 * h + 1][1]);
      w[h][3] = pack_bf16(scores[2 * h + 1][2], scores[2 * h + 1][3]);
    }
#pragma unroll
    for (int n = 0; n < PADDED / 8; n++) {
      uint4 v = *(const uint4 *)(a.values + at + (n * 8 + g) * 32 + 8 * t);
#pragma unroll
      for (int e = 0; e < 4; e++) out[n][e] = __fmul_rn(out[n][e], scale_old[e / 2]);
      multiply_add(out[n], w[0][0], w[0][1], w[0][2], w[0][3], v.x, v.y);
      multiply_add(out[n], w[1][0], w[1][1], w[1][2], w[1][3], v.z, v.w);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    sum[r] = __fadd_rn(sum[r], shuffle_xor(sum[r], 1));
    sum[r] = __fadd_rn(sum[r], shuffle_xor(sum[r], 2));
  }
}

// One warp for a tile and a key-value head, or for 16 of its heads where it has more.
KERNEL(attend, 32, AttentionArguments) {
  let_next_begin();
  wait_for_inputs();
  Tile tile = a.tiles[blockIdx.x];
  if (tile.count == 0) return;
  int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  int group = a.heads / a.kv_heads, beside = min(group, 16), cuts = (group + 15) / 16;
  int cut = blockIdx.y % cuts;
  Span s;
  s.kv = blockIdx.y / cuts;
  s.first = a.rows[tile.row].position;
  s.last = s.first + tile.count - 1;
  s.table = a.tables + a.rows[tile.row].table;
  int rows[2], heads[2];
  bool is_there[2];
  uint4 q[2][HEAD_CHUNKS];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    int pair = g + 8 * r, of_group = cut * 16 + pair % beside;
    rows[r] = tile.row + pair / beside;
    heads[r] = s.kv * group + of_group;
    is_there[r] = pair / beside < tile.count && of_group < group;
    s.positions[r] = s.first + pair / beside;
#pragma unroll
    for (int c = 0; c < HEAD_CHUNKS; c++) {
      uint4 none = {0, 0, 0, 0};
      q[r][c] = is_there[r] ? *(const uint4 *)(a.queries + ((u64)rows[r] * a.heads + heads[r]) * PADDED + c * 32 + 8 * t) : none;
    }
  }
  float maximum[2], sum[2], out[PADDED / 8][4];
  if (tile.part >= 0) {
    attend_part(a, s, tile.part, q, maximum, sum, out);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      if (!is_there[r]) continue;
      u64 at = ((u64)a.rows[rows[r]].split * a.parts_stride + tile.part) * a.heads + heads[r];
      float2 of_part = {maximum[r], sum[r]};
      if (t == 0) a.parts_sums[at] = of_part;
#pragma unroll
      for (int n = 0; n < PADDED / 8; n++) {
        float2 two = {out[n][2 * r], out[n][2 * r + 1]};
        *(float2 *)(a.parts + at * PADDED + n * 8 + 2 * t) = two;
      }
    }
    return;
  }
  float of_all[2] = {NEGATIVE_INFINITY, NEGATIVE_INFINITY}, total[2] = {}, all[PADDED / 8][4] = {};
  for (int part = 0; part <= s.last / (32 * PART_BLOCKS); part++) {
    if (a.window && (part + 1) * PART_BLOCKS * 32 - 1 + a.window <= s.first) continue;
    attend_part(a, s, part, q, maximum, sum, out);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float scale_all, scale_new;
      merge(maximum[r], of_all[r], scale_all, scale_new);
      total[r] = __fmaf_rn(total[r], scale_all, __fmul_rn(sum[r], scale_new));
#pragma unroll
      for (int n = 0; n < PADDED / 8; n++)
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; e++)
          all[n][e] = __fmaf_rn(all[n][e], scale_all, __fmul_rn(out[n][e], scale_new));
    }
  }
#pragma unroll
  for (int r = 0; r < 2; r++)
#pragma unroll
    for (int n = 0; n < PADDED / 8; n++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        int d = n * 8 + 2 * t + e;
        if (is_there[r] && d < a.dim)
          store_element(a.mixed + (u64)rows[r] * a.stride + heads[r] * a.dim + d, all[n][2 * r + e] / total[r]);
      }
}

// The parts of a row that was split, merged: a block for a row and a head, a thread for each dimension.
KERNEL(merge_parts, PADDED, AttentionArguments) {
  let_next_begin();
  wait_for_inputs();
  int row = blockIdx.x, head = blockIdx.y, d = threadIdx.x;
  Row place = a.rows[row];
  if (place.position < 0 || place.split < 0) return;
  float of_all = NEGATIVE_INFINITY, total = 0, out = 0;
  for (int part = 0; part <= place.position / (32 * PART_BLOCKS); part++) {
    u64 at = ((u64)place.split * a.parts_stride + part) * a.heads + head;
    float2 of_part = a.parts_sums[at];
    float scale_all, scale_new;
    merge(of_part.x, of_all, scale_all, scale_new);
    total = __fmaf_rn(total, scale_all, __fmul_rn(of_part.y, scale_new));
    out = __fmaf_rn(out, scale_all, __fmul_rn(a.parts[at * PADDED + d], scale_new));
  }
  if (d < a.dim) store_element(a.mixed + (u64)row * a.stride + head * a.dim + d, out / total);
}
#endif
