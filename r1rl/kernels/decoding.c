/* One decoding step between the products of a model's weights. */
#include "vectors.h"

#define BLOCK 64 /* keys whose weights are computed before their values are added up */

typedef struct { /* one layer's storage, see cache.GroupLayer */
    float *keys, *values;                       /* [slots, key heads, capacity, HEAD] */
    const float *prompt_keys, *prompt_values;   /* [prompts, key heads, width, HEAD] */
    const float *query_norm, *key_norm;         /* [HEAD] or none */
    int64_t window;                             /* keys that are seen, the token's own among them */
    float scaling, epsilon;
} layer;

typedef struct { /* a step of all layers */
    int64_t rows, heads, capacity, width, threads;
    const int64_t *prompt_of, *lengths, *prompt_lengths, *positions;
    const float *cosines, *sines;               /* [positions, HEAD]; the first half of the sines is negative */
} step;

/* One head's norm and turn: [HEAD] -> [HEAD], times `by`. */
static void turn(const element *from, const float *norm, float epsilon, const float *cosines, const float *sines, float by,
                 float *to) {
    float x[HEAD];
    float scale = 1;
    if (norm) {
        lanes squares = {0};
        for (int i = 0; i < HEAD; i += LANES) {
            lanes part = load_elements(from + i);
            squares += part * part;
        }
        scale = 1 / sqrtf(sum(squares) / HEAD + epsilon);
    }
    for (int i = 0; i < HEAD; i++) x[i] = to_float(from[i]) * scale * (norm ? norm[i] : 1);
    for (int i = 0; i < HALF; i++) to[i] = by * (x[i] * cosines[i] + x[i + HALF] * sines[i]);
    for (int i = HALF; i < HEAD; i++) to[i] = by * (x[i] * cosines[i] + x[i - HALF] * sines[i]);
}

typedef struct { /* a softmax on the way: what is summed, over what, and the largest score so far */
    float sums[REPEATS][HEAD], total[REPEATS], largest[REPEATS];
} sums;

/* Let REPEATS queries see `count` keys and values. */
static void see(sums *s, const float *queries, const float *keys, const float *values, int64_t count) {
    float scores[REPEATS][BLOCK];
    for (int64_t start = 0; start < count; start += BLOCK, keys += BLOCK * HEAD, values += BLOCK * HEAD) {
        int n = count - start < BLOCK ? count - start : BLOCK;
        for (int t = 0; t < n; t++) {
            lanes key[PARTS];
            for (int i = 0; i < PARTS; i++) key[i] = load(keys + t * HEAD + i * LANES);
            for (int r = 0; r < REPEATS; r++) {
                lanes product = key[0] * load(queries + r * HEAD);
                for (int i = 1; i < PARTS; i++) product += key[i] * load(queries + r * HEAD + i * LANES);
                scores[r][t] = sum(product);
            }
        }
        for (int r = 0; r < REPEATS; r++) {
            float largest = s->largest[r];
            for (int t = 0; t < n; t++) largest = scores[r][t] > largest ? scores[r][t] : largest;
            for (int t = n; t < BLOCK && t % LANES; t++) scores[r][t] = -INFINITY;
            if (largest > s->largest[r]) {
                float shrink = s->total[r] ? expf(s->largest[r] - largest) : 0;
                for (int i = 0; i < HEAD; i += LANES) store(s->sums[r] + i, load(s->sums[r] + i) * shrink);
                s->total[r] *= shrink;
                s->largest[r] = largest;
            }
            lanes total = {0};
            for (int t = 0; t < n; t += LANES) {
                lanes weight = exponential(load(scores[r] + t) - largest);
                store(scores[r] + t, weight);
                total += weight;
            }
            s->total[r] += sum(total);
        }
        /* As many sums as stay in registers. */
        enum { SOME = PARTS % 4 == 0 ? 4 : PARTS % 2 == 0 ? 2 : 1 };
        for (int part = 0; part < PARTS; part += SOME) {
            lanes added[REPEATS][SOME];
            for (int r = 0; r < REPEATS; r++)
                for (int i = 0; i < SOME; i++) added[r][i] = load(s->sums[r] + (part + i) * LANES);
            for (int t = 0; t < n; t++) {
                lanes value[SOME];
                for (int i = 0; i < SOME; i++) value[i] = load(values + t * HEAD + (part + i) * LANES);
                for (int r = 0; r < REPEATS; r++)
                    for (int i = 0; i < SOME; i++) added[r][i] += scores[r][t] * value[i];
            }
            for (int r = 0; r < REPEATS; r++)
                for (int i = 0; i < SOME; i++) store(s->sums[r] + (part + i) * LANES, added[r][i]);
        }
    }
}

/* Turn every row's queries and key, store its key and value, and attend over its prompt and its own tokens.
 *
 * qkv is [rows, heads + 2 key heads, HEAD], out is [rows, heads, HEAD].
 */
void attend(const layer *l, const step *s, const element *qkv, element *out) {
    const int64_t kv_heads = s->heads / REPEATS, across = (s->heads + 2 * kv_heads) * HEAD;
#pragma omp parallel for schedule(dynamic, 4) num_threads(s->threads)
    for (int64_t item = 0; item < s->rows * kv_heads; item++) {
        const int64_t row = item / kv_heads, head = item % kv_heads;
        const int64_t length = s->lengths[row], prompt = s->prompt_of[row];
        const float *cosines = s->cosines + s->positions[row] * HEAD, *sines = s->sines + s->positions[row] * HEAD;
        const element *mine = qkv + row * across;
        float queries[REPEATS * HEAD];
        for (int r = 0; r < REPEATS; r++)
            turn(mine + (head * REPEATS + r) * HEAD, l->query_norm, l->epsilon, cosines, sines, l->scaling,
                 queries + r * HEAD);
        float *keys = l->keys + item * s->capacity * HEAD, *values = l->values + item * s->capacity * HEAD;
        turn(mine + (s->heads + head) * HEAD, l->key_norm, l->epsilon, cosines, sines, 1, keys + length * HEAD);
        const element *value = mine + (s->heads + kv_heads + head) * HEAD;
        for (int i = 0; i < HEAD; i++) values[length * HEAD + i] = to_float(value[i]);

        const int64_t shared = s->width ? s->prompt_lengths[prompt] : 0;
        const int64_t unseen = shared + length + 1 - l->window; /* of prompt and own tokens, where the window is full */
        const int64_t from_prompt = unseen > 0 ? unseen : 0;
        const int64_t own = unseen > shared ? unseen - shared : 0;
        sums so_far = {.largest = {0}};
        for (int r = 0; r < REPEATS; r++) so_far.largest[r] = -INFINITY;
        if (from_prompt < shared) {
            const int64_t at = ((prompt * kv_heads + head) * s->width + from_prompt) * HEAD;
            see(&so_far, queries, l->prompt_keys + at, l->prompt_values + at, shared - from_prompt);
        }
        see(&so_far, queries, keys + own * HEAD, values + own * HEAD, length + 1 - own);
        for (int r = 0; r < REPEATS; r++) {
            const float share = 1 / so_far.total[r];
            for (int i = 0; i < HEAD; i += LANES)
                store_elements(out + (row * s->heads + head * REPEATS + r) * HEAD + i, load(so_far.sums[r] + i) * share);
        }
    }
}

/* Add `more` (or nothing) to hidden and give its root-mean-square norm, all [rows, size]. */
void add_norm(element *hidden, const element *more, const float *weight, float epsilon, element *out, int64_t rows,
              int64_t size, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * size >= GRAIN)
    for (int64_t row = 0; row < rows; row++) {
        element *mine = hidden + row * size, *to = out + row * size;
        lanes squares = {0};
        for (int64_t i = 0; i < size; i += LANES) {
            if (more) store_elements(mine + i, load_elements(mine + i) + load_elements(more + row * size + i));
            lanes x = load_elements(mine + i);
            squares += x * x;
        }
        const float scale = 1 / sqrtf(sum(squares) / size + epsilon);
        for (int64_t i = 0; i < size; i += LANES) store_elements(to + i, load_elements(mine + i) * scale * load(weight + i));
    }
}
