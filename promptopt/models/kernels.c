/* What a transformer's layer does between the products with its weights, on a CPU: each step in one pass over
 * memory. States are float32, or bfloat16 in memory and float32 in registers; strides and places count numbers.
 *
 * Written in the vectors of GCC and Clang, so that any processor can run it; where AVX-512 or AMX is at hand, a few
 * steps use what it has. Built by _compiled.py for the processor it runs on.
 *
 * Sources: Zhang & Sennrich 2019, "Root Mean Square Layer Normalization"; Su et al. 2021, "RoFormer", section 3.4.2;
 * Shazeer 2020, "GLU Variants Improve Transformer"; Dao et al. 2022, "FlashAttention", algorithm 1; Juravsky et al.
 * 2024, "Hydragen", section 3.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif
#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef int64_t size;
typedef float vec __attribute__((vector_size(64)));
typedef int32_t ints __attribute__((vector_size(64)));
typedef uint32_t bits __attribute__((vector_size(64)));
typedef uint16_t halves __attribute__((vector_size(32)));

#define LANES 16
#define LOG2E 1.4426950408889634f
#define INLINE static inline __attribute__((always_inline))

/* ---- numbers ---- */

INLINE size least(size a, size b) { return a < b ? a : b; }
INLINE vec all(float x) { return x - (vec){}; }
INLINE vec where(ints mask, vec a, vec b) { return (vec)(((ints)a & mask) | ((ints)b & ~mask)); }

/* The higher one; b if either is no number. */
INLINE vec higher(vec a, vec b) {
#ifdef __AVX512F__
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return where(a > b, a, b);
#endif
}

INLINE float sum(vec x) {
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)x);
#else
    for (int k = LANES / 2; k; k /= 2)
        for (int i = 0; i < k; i++) x[i] += x[i + k];
    return x[0];
#endif
}

INLINE float highest(vec x) {
#ifdef __AVX512F__
    return _mm512_reduce_max_ps((__m512)x);
#else
    for (int k = LANES / 2; k; k /= 2)
        for (int i = 0; i < k; i++) x[i] = x[i] > x[i + k] ? x[i] : x[i + k];
    return x[0];
#endif
}

INLINE vec widened(halves x) {
#ifdef __AVX512F__
    return (vec)((bits)_mm512_cvtepu16_epi32((__m256i)x) << 16);
#else
    return (vec)(__builtin_convertvector(x, bits) << 16);
#endif
}

INLINE halves narrowed(vec x) {
#ifdef __AVX512BF16__
    return (halves)_mm512_cvtneps_pbh((__m512)x);
#else
    bits b = (bits)x, number = (bits)(x == x); /* to the nearest, ties to even */
    b = ((b + 0x7fff + ((b >> 16) & 1)) & number) | (0x7fc00000u & ~number);
    return __builtin_convertvector(b >> 16, halves);
#endif
}

INLINE void *at(const void *from, size i, int half) { return (char *)from + i * (half ? 2 : 4); }

INLINE vec load(const void *from, size i, int half) {
    if (half) {
        halves x;
        memcpy(&x, at(from, i, half), sizeof x);
        return widened(x);
    }
    vec x;
    memcpy(&x, at(from, i, half), sizeof x);
    return x;
}

INLINE void store(void *to, size i, vec x, int half) {
    if (half) {
        halves y = narrowed(x);
        memcpy(at(to, i, half), &y, sizeof y);
    } else memcpy(at(to, i, half), &x, sizeof x);
}

/* 2 to the power of x, a finite number: 0 far below -126, huge above 127. Relative error below 2e-7; 8e-5 where it
 * ends in halves, whose own is 2e-3. */
INLINE vec power(vec x, int half) {
#ifdef __AVX512F__
    vec whole = (vec)_mm512_roundscale_ps((__m512)x, 0);
#else
    ints zero = x < -126;
    x = where(x > 127, all(127), where(zero, all(-126), x));
    vec whole = __builtin_convertvector(__builtin_convertvector(x + where(x < 0, all(-.5f), all(.5f)), ints), vec);
#endif
    vec rest = x - whole, p; /* minimax polynomials on [-.5, .5] */
    if (half) p = ((5.51716672e-2f * rest + 2.42611122e-1f) * rest + 6.93260986e-1f) * rest + 9.99928074e-1f;
    else {
        p = (1.32764718e-3f * rest + 9.67554133e-3f) * rest + 5.55071327e-2f;
        p = ((p * rest + 2.40221197e-1f) * rest + 6.93146967e-1f) * rest + 1.00000007f;
    }
#ifdef __AVX512F__
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)whole);
#else
    p = where(x == x, (vec)((ints)p + (__builtin_convertvector(whole, ints) << 23)), x);
    return where(zero, all(0), p);
#endif
}

INLINE vec inverse(vec x) {
#ifdef __AVX512F__
    vec near = (vec)_mm512_rcp14_ps((__m512)x); /* and a step of Newton's; 1 / infinity stays 0 */
    return where(x < 3e38f, near * (2 - x * near), near);
#else
    return 1 / x;
#endif
}

/* ---- steps of a layer ---- */

INLINE void norm_row(int half, void *out, const void *x, const void *weight, size width, float epsilon) {
    vec squares = {};
    for (size i = 0; i < width; i += LANES) squares += load(x, i, half) * load(x, i, half);
    float factor = 1 / sqrtf(sum(squares) / (float)width + epsilon);
    for (size i = 0; i < width; i += LANES) store(out, i, load(x, i, half) * factor * load(weight, i, half), half);
}

/* Divide states [rows, width] by the root mean square of each row; scale by the weights [width]. */
void norm(int half, void *out, const void *states, const void *weight, size rows, size width, float epsilon,
          int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size row = 0; row < rows; row++) {
        size place = row * width;
        if (half) norm_row(1, at(out, place, 1), at(states, place, 1), weight, width, epsilon);
        else norm_row(0, at(out, place, 0), at(states, place, 0), weight, width, epsilon);
    }
}

INLINE void gate_row(int half, void *inner, const void *up, size width) {
    for (size i = 0; i < width; i += LANES) {
        vec x = load(inner, i, half);
        store(inner, i, x * inverse(1 + power(x * -LOG2E, half)) * load(up, i, half), half);
    }
}

/* Replace x [rows, width] by x * sigmoid(x) * up. */
void gate(int half, void *inner, const void *up, size rows, size width, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size row = 0; row < rows; row++) {
        size place = row * width;
        if (half) gate_row(1, at(inner, place, 1), at(up, place, 1), width);
        else gate_row(0, at(inner, place, 0), at(up, place, 0), width);
    }
}

INLINE void turn_row(int half, void *x, const void *cosine, const void *sine, size width) {
    for (size i = 0, j = width / 2; j < width; i += LANES, j += LANES) {
        vec a = load(x, i, half), b = load(x, j, half);
        store(x, i, a * load(cosine, i, half) - b * load(sine, i, half), half);
        store(x, j, b * load(cosine, j, half) + a * load(sine, j, half), half);
    }
}

/* Rotate features i and i + width / 2 of states [tokens, heads, width] by angles [tokens, width]. */
void turn(int half, void *states, const void *cosine, const void *sine, size tokens, size heads, size width,
          int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size row = 0; row < tokens * heads; row++) {
        size place = row * width, angle = row / heads * width;
        if (half) turn_row(1, at(states, place, 1), at(cosine, angle, 1), at(sine, angle, 1), width);
        else turn_row(0, at(states, place, 0), at(cosine, angle, 0), at(sine, angle, 0), width);
    }
}

INLINE float total_row(int half, const void *x, size width) {
    size even = width / LANES * LANES, bytes = half ? 2 : 4;
    char rest[LANES * 4];
    store(rest, 0, all(-INFINITY), half);
    memcpy(rest, at(x, even, half), (width - even) * bytes);
    vec last = load(rest, 0, half), top = last, far = all(-1000); /* logits may be minus infinity, and weigh 0 */
    for (size i = 0; i < even; i += LANES) top = higher(top, load(x, i, half));
    float most = highest(top), base = most * LOG2E;
    vec weights = power(higher(far, last * LOG2E - base), 0);
    for (size i = 0; i < even; i += LANES) weights += power(higher(far, load(x, i, half) * LOG2E - base), 0);
    return most + logf(sum(weights));
}

/* The logarithm of the sum of the exponentials of each of [rows, width]. */
void total(int half, float *out, const void *logits, size rows, size width, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size row = 0; row < rows; row++) {
        const void *x = at(logits, row * width, half);
        out[row] = half ? total_row(1, x, width) : total_row(0, x, width);
    }
}

/* ---- attention ---- */

#define BLOCK 32 /* queries of a block, and keys */
#define RUN 8    /* blocks of keys that are looked at between two changes of scale */
#define ROW (RUN * BLOCK)
#define HIDDEN -1e30f
#define LEAST -1e20f /* below every product, far above what is hidden */

typedef struct { /* keys and values [tokens, heads, width] that the queries `low` to `high` see all of */
    size low, high, count;
    const void *keys, *values;
    size token, head; /* strides */
} branch;

typedef struct { /* states [tokens, heads, width]; a token is so many numbers behind the one before */
    size queries, heads, kv_heads, width, keys;
    const void *query, *key, *value;
    size query_token, key_token, value_token;
    void *out;
    const int32_t *positions, *begins; /* of queries, ascending: where they stand; the first key that they see */
    const int32_t *ends;               /* of keys: one past the last position that sees them */
    size branches;
    const branch *above;
    float scale;
} work;

typedef struct {
    size first, count;
    const branch *from; /* NULL: the keys of the work itself */
    const void *key, *value;
    size key_token, value_token;
    int32_t soonest, latest; /* of own keys: the least end, and the highest */
    char *packed;            /* keys of float32 [width, 32]; or both, in tiles */
} block;

INLINE size blocks(size count) { return (count + BLOCK - 1) / BLOCK; }

#ifdef __clang__
#define SHUFFLED(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLED(a, b, ...) __builtin_shuffle(a, b, (ints){__VA_ARGS__})
#endif
#define EVEN 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define ODD 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31

/* Transpose 16 x 16 numbers of 32 bits. */
INLINE void transpose(ints r[16]) {
    ints t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = SHUFFLED(r[i], r[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
        t[i + 1] = SHUFFLED(r[i], r[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    }
#pragma GCC unroll 8
    for (int k = 0; k < 16; k += 2) {
        int i = k - k % 4 / 2; /* 0, 1, 4, 5, 8, .. */
        r[k] = SHUFFLED(t[i], t[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
        r[k + 1] = SHUFFLED(t[i], t[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
        int i = k % 4 + k / 4 * 8; /* 0 to 3, 8 to 11 */
        t[i] = SHUFFLED(r[i], r[i + 4], EVEN);
        t[i + 4] = SHUFFLED(r[i], r[i + 4], ODD);
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
        r[k] = SHUFFLED(t[k], t[k + 8], EVEN);
        r[k + 8] = SHUFFLED(t[k], t[k + 8], ODD);
    }
}

/* Keys [32, width], in words of 32 bits, as columns: [width, 32], or tiles [2][width / 32][16, 16] of pairs. */
INLINE void pack_keys(int half, char *to, const block *b, size width) {
    size words = half ? width / 2 : width;
    for (size side = 0; side < 2; side++)
        for (size word = 0; word < words; word += 16) {
            ints rows[16];
            for (size i = 0; i < 16; i++) {
                size key = side * 16 + i;
                const char *row = at(b->key, key * b->key_token, half);
                rows[i] = key < b->count ? (ints)load(row, word, 0) : (ints){};
            }
            transpose(rows);
            for (size i = 0; i < 16; i++) {
                size place = half ? (side * words + word + i) * 16 : (word + i) * BLOCK + side * 16;
                store(to, place, (vec)rows[i], 0);
            }
        }
}

/* Values [32, width] of halves to tiles [width / 16][16, 16] of pairs of tokens. */
INLINE void pack_values(char *to, const block *b, size width) {
    for (size d = 0; d < width; d += 16)
        for (size i = 0; i < BLOCK; i += 2) {
            bits low = i < b->count ? (bits)load(at(b->value, i * b->value_token, 1), d, 1) >> 16 : (bits){};
            bits high = i + 1 < b->count ? (bits)load(at(b->value, (i + 1) * b->value_token, 1), d, 1) : (bits){};
            store(to, (d + i / 2) * 16, (vec)(low | high), 0);
        }
}

/* Add a [8, depth] times b [depth, 32] to x. */
INLINE void multiply(vec x[8][2], const float *a, size row, const float *b, size stride, size depth) {
    for (size k = 0; k < depth; k++) {
        vec left = load(b, k * stride, 0), right = load(b, k * stride + 16, 0);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            vec factor = all(a[i * row + k]);
            x[i][0] += factor * left;
            x[i][1] += factor * right;
        }
    }
}

/* Products s [rows, 32] of queries q [rows, width] with a block of keys. */
INLINE void compare(float *s, const float *q, const block *b, int rows, size width) {
    for (int i = 0; i < rows; i += 8) {
        vec x[8][2] = {};
        multiply(x, q + i * width, width, (const float *)b->packed, BLOCK, width);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            store(s, (i + k) * ROW, x[k][0], 0);
            store(s, (i + k) * ROW + 16, x[k][1], 0);
        }
    }
}

/* Add values, weighted by p [rows, 32] for each block, to o [rows, width]. */
INLINE void mix(float *o, const float *p, const block *const *run, int count, int rows, size width) {
    for (int i = 0; i < rows; i += 8)
        for (size d = 0; d < width; d += BLOCK) {
            float *to = o + i * width + d;
            vec x[8][2];
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++) {
                x[k][0] = load(to, k * width, 0);
                x[k][1] = load(to, k * width + 16, 0);
            }
            for (int n = 0; n < count; n++) {
                const block *b = run[n];
                multiply(x, p + i * ROW + n * BLOCK, ROW, (const float *)b->value + d, b->value_token, b->count);
            }
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++) {
                store(to, k * width, x[k][0], 0);
                store(to, k * width + 16, x[k][1], 0);
            }
        }
}

#ifdef __AMX_BF16__
typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tiling;

/* The four products of tiles 4 and 5, one below the other, with 6 and 7, side by side. */
INLINE void multiply_tiles(void) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

INLINE void store_tiles(float *to, size row) {
    _tile_stored(0, to, row * 4);
    _tile_stored(1, to + 16, row * 4);
    _tile_stored(2, to + 16 * row, row * 4);
    _tile_stored(3, to + 16 * row + 16, row * 4);
}

INLINE void compare_tiles(float *s, const uint16_t *q, const block *b, size width) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size d = 0; d < width; d += 32) {
        _tile_loadd(4, q + d, width * 2);
        _tile_loadd(5, q + 16 * width + d, width * 2);
        _tile_loadd(6, b->packed + d * 32, 64);
        _tile_loadd(7, b->packed + (width + d) * 32, 64);
        multiply_tiles();
    }
    store_tiles(s, ROW);
}

INLINE void mix_tiles(float *o, const uint16_t *p, const block *const *run, int count, size width) {
    for (size d = 0; d < width; d += 32) {
        float *to = o + d;
        _tile_loadd(0, to, width * 4);
        _tile_loadd(1, to + 16, width * 4);
        _tile_loadd(2, to + 16 * width, width * 4);
        _tile_loadd(3, to + 16 * width + 16, width * 4);
        for (int n = 0; n < count; n++) {
            const char *values = run[n]->packed + (width + d) * BLOCK * 2;
            _tile_loadd(4, p + n * BLOCK, ROW * 2);
            _tile_loadd(5, p + 16 * ROW + n * BLOCK, ROW * 2);
            _tile_loadd(6, values, 64);
            _tile_loadd(7, values + 1024, 64);
            multiply_tiles();
        }
        store_tiles(to, width);
    }
}
#endif

/* Hide the products [rows, 32] of queries with keys that they do not see. */
INLINE void hide(float *s, const work *w, size first, int rows, const block *b) {
    ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    ints key[2] = {lane, lane + 16}, end[2] = {};
    if (!b->from) memcpy(end, w->ends + b->first, b->count * sizeof *w->ends);
    for (int i = 0; i < rows; i++) {
        size slot = first + i;
        int32_t count = !b->from || (b->from->low <= slot && slot < b->from->high) ? b->count : 0;
        for (int side = 0; side < 2; side++) {
            ints seen = key[side] < count;
            if (!b->from) {
                int32_t offset = b->first, here = w->positions[slot], begin = w->begins[slot];
                seen &= (key[side] >= begin - offset) & (key[side] <= here - offset) & (end[side] > here);
            }
            size place = i * ROW + side * 16;
            store(s, place, where(seen, load(s, place, 0), all(HIDDEN)), 0);
        }
    }
}

/* Turn products of a row with `count` keys to weights p; return their sum. `top` is the highest product so far. */
INLINE float weigh(int half, void *p, const float *s, int count, float factor, float *top) {
    vec high = all(HIDDEN), sums = {};
    for (int k = 0; k < count; k += LANES) high = higher(high, load(s, k, 0));
    float most = highest(high) * factor;
    *top = most > *top ? most : *top;
    for (int k = 0; k < count; k += LANES) {
        vec weight = power(load(s, k, 0) * factor - *top, half);
        sums += weight;
        store(p, k, weight, half);
    }
    return sum(sums);
}

/* Attend from a block of queries of one head to blocks of keys, of which some are seen partly. */
INLINE void attend_block(int half, const work *w, size first, size head, const block *const *seen, const char *partly,
                         size count) {
    size width = w->width;
    int rows = least(w->queries - first, BLOCK), even = (rows + 7) / 8 * 8;
    float q[BLOCK * width] __attribute__((aligned(64))), o[BLOCK * width] __attribute__((aligned(64)));
    float s[BLOCK * ROW] __attribute__((aligned(64))), top[BLOCK], sums[BLOCK];
    uint16_t narrow[BLOCK * ROW] __attribute__((aligned(64)));
    float scale = w->scale * LOG2E, after = half ? scale : 1; /* halves are scaled later */
    memset(o, 0, sizeof o);
    memset(at(q, rows * width, half), 0, (BLOCK - rows) * width * (half ? 2 : 4));
    for (int i = 0; i < rows; i++) {
        const void *from = at(w->query, (first + i) * w->query_token + head * width, half);
        if (half) memcpy(at(q, i * width, half), from, width * 2);
        else
            for (size d = 0; d < width; d += LANES) store(q, i * width + d, load(from, d, half) * scale, half);
        top[i] = LEAST;
        sums[i] = 0;
    }
    for (size begin = 0; begin < count; begin += RUN) {
        const block *const *run = seen + begin;
        int many = least(count - begin, RUN);
        for (int n = 0; n < many; n++) {
            float *to = s + n * BLOCK;
            if (!half) compare(to, q, run[n], even, width);
#ifdef __AMX_BF16__
            else compare_tiles(to, (const uint16_t *)q, run[n], width);
#endif
            if (partly[begin + n]) hide(to, w, first, rows, run[n]);
        }
        for (int i = 0; i < rows; i++) {
            float *row = s + i * ROW, old = top[i];
            float more = weigh(half, half ? (void *)(narrow + i * ROW) : row, row, many * BLOCK, after, top + i);
            if (begin && old < top[i]) {
                float shrink = exp2f(old - top[i]);
                sums[i] *= shrink;
                float *mixed = o + i * width;
                for (size d = 0; d < width; d += LANES) store(mixed, d, load(mixed, d, 0) * shrink, 0);
            }
            sums[i] += more;
        }
        if (!half) mix(o, s, run, many, even, width);
#ifdef __AMX_BF16__
        else mix_tiles(o, narrow, run, many, width);
#endif
    }
    for (int i = 0; i < rows; i++)
        for (size d = 0; d < width; d += LANES) {
            vec mixed = load(o, i * width + d, 0) * (1 / sums[i]);
            store(w->out, ((first + i) * w->heads + head) * width + d, mixed, half);
        }
}

/* Cut the keys of a head into blocks. */
static void cut(int half, const work *w, size head, block *to, char *packed, size each) {
    for (const branch *from = w->above; from < w->above + w->branches; from++)
        for (size i = 0; i < from->count; i += BLOCK, packed += each) {
            size place = i * from->token + head * from->head, count = least(from->count - i, BLOCK);
            const void *key = at(from->keys, place, half), *value = at(from->values, place, half);
            *to++ = (block){i, count, from, key, value, from->token, from->token, 0, 0, packed};
        }
    for (size i = 0; i < w->keys; i += BLOCK, packed += each) {
        size count = least(w->keys - i, BLOCK), place = head * w->width;
        const void *key = at(w->key, i * w->key_token + place, half);
        const void *value = at(w->value, i * w->value_token + place, half);
        int32_t soonest = INT32_MAX, latest = 0;
        for (size k = i; k < i + count; k++) {
            soonest = w->ends[k] < soonest ? w->ends[k] : soonest;
            latest = w->ends[k] > latest ? w->ends[k] : latest;
        }
        *to++ = (block){i, count, NULL, key, value, w->key_token, w->value_token, soonest, latest, packed};
    }
}

/* How much of a block of keys the queries `first` to `last` see: 0 nothing, 1 all, 2 some. */
INLINE int sees(const work *w, size first, size last, const block *b) {
    if (b->from) {
        if (b->from->low >= last || b->from->high <= first) return 0;
        return b->from->low <= first && last <= b->from->high && b->count == BLOCK ? 1 : 2;
    }
    int32_t low = w->positions[first], high = w->positions[last - 1];
    if (b->first > high || b->latest <= low || b->first + b->count <= w->begins[first]) return 0;
    return b->first + BLOCK - 1 <= low && b->soonest > high && b->first >= w->begins[last - 1] ? 1 : 2;
}

/* Attend from all queries; return whether there was memory for it. Halves need `tiled`. */
int attend(int half, const work *w, int threads) {
    size count = blocks(w->keys), share = w->heads / w->kv_heads, steps = blocks(w->queries) * share;
    for (size i = 0; i < w->branches; i++) count += blocks(w->above[i].count);
    size each = BLOCK * w->width * 4; /* bytes: keys of 4, or keys and values of 2 */
    char *packed = aligned_alloc(64, count * each);
    block *held = malloc(count * sizeof *held);
    int there = packed && held;
#pragma omp parallel num_threads(threads) if (threads > 1)
    if (there) {
        const block *seen[count];
        char partly[count];
#ifdef __AMX_BF16__
        tiling before, mine = {.palette = 1};
        for (int i = 0; i < 8; i++) mine.bytes[i] = 64, mine.rows[i] = 16;
        if (half) {
            _tile_storeconfig(&before);
            _tile_loadconfig(&mine);
        }
#endif
        for (size group = 0; group < w->kv_heads; group++) {
#pragma omp single
            cut(half, w, group, held, packed, each);
#pragma omp for schedule(static)
            for (size n = 0; n < count; n++)
                if (half) {
                    pack_keys(1, held[n].packed, held + n, w->width);
                    pack_values(held[n].packed + each / 2, held + n, w->width);
                } else pack_keys(0, held[n].packed, held + n, w->width);
#pragma omp for schedule(dynamic, 1)
            for (size step = 0; step < steps; step++) {
                size head = group * share + step % share, many = 0;
                size first = step / share * BLOCK, last = least(first + BLOCK, w->queries);
                for (size n = 0; n < count; n++) {
                    int how = sees(w, first, last, held + n);
                    if (!how) continue;
                    seen[many] = held + n;
                    partly[many++] = how == 2;
                }
                if (half) attend_block(1, w, first, head, seen, partly, many);
                else attend_block(0, w, first, head, seen, partly, many);
            }
        }
#ifdef __AMX_BF16__
        if (half && before.palette) _tile_loadconfig(&before);
        else if (half) _tile_release();
#endif
    }
    free(packed);
    free(held);
    return there;
}

/* Whether this processor multiplies tiles of halves, and the system lets it. */
int tiled(void) {
#ifdef __AMX_BF16__
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* the tiles' data */) == 0;
#else
    return 0;
#endif
}
