/* Attention over many rollouts in one row of tokens, forward and backward: see packed_attention.py.
 *
 * A segment is what all prompts begin with (the row's first tokens), the rest of a prompt, or a completion behind both.
 * Its queries are taken some tokens at a time, all query heads of a key head together, and meet the keys block by block,
 * so that what is computed on the way stays in the caches (FlashAttention-2, https://arxiv.org/abs/2307.08691,
 * algorithms 1 and 2).
 */
#include "vectors.h"

#if !BF16
/* Products of small matrices: what of them is in use stays in the caches. */

/* c = a b, or c += a b, in a tile of `rows` by 1 or 2 vectors; a has any steps, b and c are rows of floats. */
static inline __attribute__((always_inline)) void tile(const int rows, const int wide, const float *a, int64_t a_row,
                                                       int64_t a_step, const float *b, int64_t b_row, float *c,
                                                       int64_t c_row, int64_t steps, int add) {
    lanes left[6], right[6];
    for (int i = 0; i < rows; i++) {
        left[i] = add ? load(c + i * c_row) : (lanes){0};
        if (wide) right[i] = add ? load(c + i * c_row + LANES) : (lanes){0};
    }
    for (int64_t k = 0; k < steps; k++) {
        const lanes x = load(b + k * b_row), y = wide ? load(b + k * b_row + LANES) : x;
        for (int i = 0; i < rows; i++) {
            const float by = a[i * a_row + k * a_step];
            left[i] += by * x;
            if (wide) right[i] += by * y;
        }
    }
    for (int i = 0; i < rows; i++) {
        store(c + i * c_row, left[i]);
        if (wide) store(c + i * c_row + LANES, right[i]);
    }
}

/* c [rows, columns] = a [rows, steps] b [steps, columns], or added to it; columns are a multiple of LANES. */
static void multiply(const float *a, int64_t a_row, int64_t a_step, const float *b, int64_t b_row, float *c,
                     int64_t c_row, int64_t rows, int64_t steps, int64_t columns, int add) {
    for (int64_t j = 0; j < columns; j += 2 * LANES) {
        const int wide = columns - j >= 2 * LANES;
        for (int64_t i = 0; i < rows; i += 6) {
            const float *from = a + i * a_row;
            float *to = c + i * c_row + j;
#define TILE(n) \
    if (wide) tile(n, 1, from, a_row, a_step, b + j, b_row, to, c_row, steps, add); \
    else tile(n, 0, from, a_row, a_step, b + j, b_row, to, c_row, steps, add); \
    break
            switch (rows - i) {
            case 1: TILE(1);
            case 2: TILE(2);
            case 3: TILE(3);
            case 4: TILE(4);
            case 5: TILE(5);
            default: TILE(6);
            }
#undef TILE
        }
    }
}

#define TOKENS (48 / REPEATS > 24 ? 24 : REPEATS > 48 ? 1 : 48 / REPEATS)
#define ROWS (TOKENS * REPEATS)
#define KEYS 64

typedef struct {
    int64_t start, length;        /* its tokens in the row */
    int64_t prefix_start, prefix; /* its prompt's rest; none: it is a prompt */
    int64_t common;               /* tokens before those, from the row's first on */
} segment;

/* Tokens before a segment's own. */
static int64_t before(const segment *s) { return s->common + s->prefix; }

typedef struct {
    const segment *segments;
    int64_t count, key_heads, window, threads;
    float scaling;
    heads query, key, value;
    heads out;    /* what attention gives */
    float *sizes; /* [tokens, query heads], the logarithm of each softmax's denominator */
    /* Backward alone: */
    heads gradient, to_query, to_key, to_value;
    const int64_t *strands;   /* [strand_count + 1], the first segment of each; all of one group, or the beginning */
    const int64_t *places;    /* [strand_count], where its prompt is in `to_prompt...` */
    int64_t strand_count;
    heads to_prompt_key, to_prompt_value; /* each strand's part of its prompt's gradient */
} attention;

/* A block of keys or values with its elements as rows, [HEAD, KEYS]; what is behind the last key is 0. */
static void turned(const float *from, int64_t token, int count, float *to) {
    for (int i = 0; i < HEAD; i++) {
        for (int t = 0; t < count; t++) to[i * KEYS + t] = from[t * token + i];
        for (int t = count; t % LANES; t++) to[i * KEYS + t] = 0;
    }
}

typedef struct { /* keys that a block of queries meets: `count` from `start` on, the `at`-th of all before its last */
    int64_t start, at;
    int count;
} block;

/* The blocks of keys that `tokens` queries of a segment from its `from`-th on may see, one after another. */
static int next_block(const segment *s, int64_t from, int64_t tokens, int64_t window, block *b) {
    const int64_t shared = before(s), end = shared + from + tokens;
    for (int64_t at = b->at + b->count; at < end; at = b->at + b->count) {
        const int64_t limit = at < s->common ? s->common : at < shared ? shared : end;
        b->at = at;
        b->count = limit - at < KEYS ? limit - at : KEYS;
        b->start = at < s->common ? at : at < shared ? s->prefix_start + at - s->common : s->start + at - shared;
        if (at + b->count > shared + from - window + 1) return 1;
    }
    return 0;
}

/* Scores of keys that a query does not see are minus infinity; `scores` is [rows, KEYS]. */
static void hide(float *scores, const segment *s, int64_t from, int64_t tokens, int64_t window, const block *b) {
    for (int64_t t = 0; t < tokens; t++) {
        const int64_t position = before(s) + from + t;
        int64_t first = position - window + 1 - b->at, end = position + 1 - b->at;
        if (first < 0) first = 0;
        if (end > b->count) end = b->count;
        for (int r = 0; r < REPEATS; r++) {
            float *mine = scores + (t * REPEATS + r) * KEYS;
            for (int64_t k = 0; k < first && k < b->count; k++) mine[k] = -INFINITY;
            for (int64_t k = end < 0 ? 0 : end; k < b->count || k % LANES; k++) mine[k] = -INFINITY;
        }
    }
}

/* Rows of a block of tokens, all query heads of a key head, one behind the other: [tokens, REPEATS, HEAD]. */
static void gather(const heads *from, int64_t key_head, int64_t start, int64_t tokens, float by, float *to) {
    for (int64_t t = 0; t < tokens; t++)
        for (int r = 0; r < REPEATS; r++) {
            const float *row = from->at + (key_head * REPEATS + r) * from->head + (start + t) * from->token;
            for (int i = 0; i < HEAD; i += LANES) store(to + (t * REPEATS + r) * HEAD + i, load(row + i) * by);
        }
}

static void scatter(const heads *into, int64_t key_head, int64_t start, int64_t tokens, const float *by,
                    const float *from) {
    for (int64_t t = 0; t < tokens; t++)
        for (int r = 0; r < REPEATS; r++) {
            float *row = into->at + (key_head * REPEATS + r) * into->head + (start + t) * into->token;
            const int64_t at = t * REPEATS + r;
            for (int i = 0; i < HEAD; i += LANES) store(row + i, load(from + at * HEAD + i) * by[at]);
        }
}

static int padded(int count) { return (count + LANES - 1) / LANES * LANES; }

/* Fill `out` and `sizes`. */
void attend_packed(const attention *a) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(a->threads)
    for (int64_t item = 0; item < a->count * a->key_heads; item++) {
        const segment *s = a->segments + item / a->key_heads;
        const int64_t head = item % a->key_heads;
        const float *keys = a->key.at + head * a->key.head, *values = a->value.at + head * a->value.head;
        float queries[ROWS * HEAD], sums[ROWS * HEAD], scores[ROWS * KEYS], columns[HEAD * KEYS];
        float largest[ROWS], total[ROWS];
        for (int64_t from = 0; from < s->length; from += TOKENS) {
            const int64_t tokens = s->length - from < TOKENS ? s->length - from : TOKENS, rows = tokens * REPEATS;
            gather(&a->query, head, s->start + from, tokens, a->scaling, queries);
            memset(sums, 0, sizeof sums);
            for (int r = 0; r < ROWS; r++) largest[r] = -INFINITY, total[r] = 0;
            for (block b = {0}; next_block(s, from, tokens, a->window, &b);) {
                turned(keys + b.start * a->key.token, a->key.token, b.count, columns);
                multiply(queries, HEAD, 1, columns, KEYS, scores, KEYS, rows, HEAD, padded(b.count), 0);
                hide(scores, s, from, tokens, a->window, &b);
                for (int64_t r = 0; r < rows; r++) {
                    float *mine = scores + r * KEYS;
                    lanes high = load(mine);
                    for (int k = LANES; k < b.count; k += LANES) {
                        const lanes more = load(mine + k);
                        high = choose(more > high, more, high);
                    }
                    float top = largest[r];
                    for (int i = 0; i < LANES; i++) top = high[i] > top ? high[i] : top;
                    if (top > largest[r]) {
                        const float shrink = total[r] ? expf(largest[r] - top) : 0;
                        for (int i = 0; i < HEAD; i += LANES)
                            store(sums + r * HEAD + i, load(sums + r * HEAD + i) * shrink);
                        total[r] *= shrink;
                        largest[r] = top;
                    }
                    const float by = top == -INFINITY ? 0 : top; /* nothing seen so far; NaN stays NaN */
                    lanes added = {0};
                    for (int k = 0; k < b.count; k += LANES) {
                        const lanes weight = exponential(load(mine + k) - by);
                        store(mine + k, weight);
                        added += weight;
                    }
                    total[r] += sum(added);
                }
                multiply(scores, KEYS, 1, values + b.start * a->value.token, a->value.token, sums, HEAD, rows, b.count,
                         HEAD, 1);
            }
            for (int64_t r = 0; r < rows; r++) {
                const int64_t token = s->start + from + r / REPEATS;
                a->sizes[token * a->key_heads * REPEATS + head * REPEATS + r % REPEATS] = largest[r] + logf(total[r]);
                total[r] = 1 / total[r];
            }
            scatter(&a->out, head, s->start + from, tokens, total, sums);
        }
    }
}

static void add(const heads *into, const heads *from, int64_t head, int64_t start, int64_t place, int64_t tokens) {
    for (int64_t t = 0; t < tokens; t++) {
        float *to = into->at + head * into->head + (start + t) * into->token;
        const float *more = from->at + head * from->head + (place + t) * from->token;
        for (int i = 0; i < HEAD; i += LANES) store(to + i, load(to + i) + load(more + i));
    }
}

/* Fill `to_query`, and add to `to_key` and `to_value`. */
void attend_packed_backward(const attention *a) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(a->threads)
    for (int64_t item = 0; item < a->strand_count * a->key_heads; item++) {
        const int64_t strand = item / a->key_heads, head = item % a->key_heads;
        const float *keys = a->key.at + head * a->key.head, *values = a->value.at + head * a->value.head;
        float queries[ROWS * HEAD], gradients[ROWS * HEAD], outs[ROWS * HEAD], to_queries[ROWS * HEAD];
        float weights[ROWS * KEYS], down[ROWS * KEYS], columns[HEAD * KEYS];
        float sizes[ROWS], means[ROWS], by[ROWS];
        for (int r = 0; r < ROWS; r++) by[r] = a->scaling;
        for (const segment *s = a->segments + a->strands[strand]; s < a->segments + a->strands[strand + 1]; s++) {
            for (int64_t from = 0; from < s->length; from += TOKENS) {
                const int64_t tokens = s->length - from < TOKENS ? s->length - from : TOKENS, rows = tokens * REPEATS;
                gather(&a->query, head, s->start + from, tokens, a->scaling, queries);
                gather(&a->gradient, head, s->start + from, tokens, 1, gradients);
                gather(&a->out, head, s->start + from, tokens, 1, outs);
                memset(to_queries, 0, sizeof to_queries);
                for (int64_t r = 0; r < rows; r++) {
                    const int64_t token = s->start + from + r / REPEATS;
                    sizes[r] = a->sizes[token * a->key_heads * REPEATS + head * REPEATS + r % REPEATS];
                    lanes product = {0};
                    for (int i = 0; i < HEAD; i += LANES)
                        product += load(gradients + r * HEAD + i) * load(outs + r * HEAD + i);
                    means[r] = sum(product);
                }
                for (block b = {0}; next_block(s, from, tokens, a->window, &b);) {
                    const int wide = padded(b.count);
                    turned(keys + b.start * a->key.token, a->key.token, b.count, columns);
                    multiply(queries, HEAD, 1, columns, KEYS, weights, KEYS, rows, HEAD, wide, 0);
                    hide(weights, s, from, tokens, a->window, &b);
                    turned(values + b.start * a->value.token, a->value.token, b.count, columns);
                    multiply(gradients, HEAD, 1, columns, KEYS, down, KEYS, rows, HEAD, wide, 0);
                    for (int64_t r = 0; r < rows; r++)
                        for (int k = r * KEYS; k < r * KEYS + wide; k += LANES) {
                            const lanes weight = exponential(load(weights + k) - sizes[r]);
                            store(weights + k, weight);
                            store(down + k, weight * (load(down + k) - means[r]));
                        }
                    multiply(down, KEYS, 1, keys + b.start * a->key.token, a->key.token, to_queries, HEAD, rows, b.count,
                             HEAD, 1);
                    /* A prompt's keys get theirs in the strand's own place: others add to them at the same time. */
                    const int of_prompt = b.at < before(s) || !s->prefix;
                    const heads *to_key = of_prompt ? &a->to_prompt_key : &a->to_key;
                    const heads *to_value = of_prompt ? &a->to_prompt_value : &a->to_value;
                    const int64_t token = of_prompt ? a->places[strand] + b.at : b.start;
                    multiply(down, 1, KEYS, queries, HEAD, to_key->at + head * to_key->head + token * to_key->token,
                             to_key->token, b.count, rows, HEAD, 1);
                    multiply(weights, 1, KEYS, gradients, HEAD,
                             to_value->at + head * to_value->head + token * to_value->token, to_value->token, b.count,
                             rows, HEAD, 1);
                }
                scatter(&a->to_query, head, s->start + from, tokens, by, to_queries);
            }
        }
    }
#pragma omp parallel for num_threads(a->threads)
    for (int64_t head = 0; head < a->key_heads; head++)
        for (int64_t strand = 0; strand < a->strand_count; strand++) {
            const segment *s = a->segments + a->strands[strand];
            const int64_t start = s->prefix_start, tokens = s->prefix ? s->prefix : s->length;
            const int64_t place = a->places[strand];
            add(&a->to_key, &a->to_prompt_key, head, 0, place, s->common);
            add(&a->to_value, &a->to_prompt_value, head, 0, place, s->common);
            add(&a->to_key, &a->to_prompt_key, head, start, place + s->common, tokens);
            add(&a->to_value, &a->to_prompt_value, head, start, place + s->common, tokens);
        }
}
#endif
