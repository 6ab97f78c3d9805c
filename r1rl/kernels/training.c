/* A decoder's small layers, forward and backward: see fused.py. */
#include "vectors.h"

#if !BF16
/* The root-mean-square norm of each row, [rows, size], and the scale of each, [rows]. */
void norm(const float *in, const float *weight, float epsilon, float *out, float *scales, int64_t rows, int64_t size,
          int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * size >= GRAIN)
    for (int64_t row = 0; row < rows; row++) {
        const float *x = in + row * size;
        lanes squares = {0};
        for (int64_t i = 0; i < size; i += LANES) squares += load(x + i) * load(x + i);
        const float scale = scales[row] = 1 / sqrtf(sum(squares) / size + epsilon);
        for (int64_t i = 0; i < size; i += LANES)
            store(out + row * size + i, load(x + i) * scale * load(weight + i));
    }
}

/* Gradients of a norm's input, and of its weight by `threads` parts of the rows, [threads, size], which are added to. */
void norm_backward(const float *gradient, const float *in, const float *weight, const float *scales, float *to_in,
                   float *to_weight, int64_t rows, int64_t size, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * size >= GRAIN)
    for (int64_t part = 0; part < threads; part++) {
        float *mine = to_weight + part * size;
        for (int64_t row = rows * part / threads; row < rows * (part + 1) / threads; row++) {
            const float *g = gradient + row * size, *x = in + row * size;
            const float scale = scales[row];
            lanes product = {0};
            for (int64_t i = 0; i < size; i += LANES) {
                const lanes down = load(g + i) * load(x + i);
                product += down * load(weight + i);
                store(mine + i, load(mine + i) + down * scale);
            }
            const float back = sum(product) / size * scale * scale;
            for (int64_t i = 0; i < size; i += LANES)
                store(to_in + row * size + i, scale * (load(g + i) * load(weight + i) - load(x + i) * back));
        }
    }
}

#endif

/* Gradients of silu(gate) * up; everything is [rows, size]. */
void gated_backward(const element *gradient, const element *gates, const element *ups, element *to_gate, element *to_up,
                    int64_t rows, int64_t size, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * size >= GRAIN)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = row * size; i < (row + 1) * size; i += LANES) {
            const lanes g = load_elements(gradient + i), gate = load_elements(gates + i);
            const lanes open = 1 / (1 + exponential(-gate)), silu = gate * open;
            store_elements(to_up + i, g * silu);
            store_elements(to_gate + i, g * load_elements(ups + i) * open * (1 + gate * (1 - open)));
        }
}

/* Turn each token's heads of elements to its position, in float32. cosines and sines are [tokens, HEAD]. */
void turn_heads(const heads *in, const heads *out, const float *cosines, const float *sines, int64_t count,
                int64_t tokens, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (count * tokens * HEAD >= GRAIN)
    for (int64_t token = 0; token < tokens; token++) {
        const float *c = cosines + token * HEAD, *s = sines + token * HEAD;
        for (int64_t head = 0; head < count; head++) {
            const element *x = (const element *)in->at + head * in->head + token * in->token;
            float *restrict to = out->at + head * out->head + token * out->token;
            for (int i = 0; i < HALF; i++) {
                const float first = to_float(x[i]), second = to_float(x[i + HALF]);
                to[i] = first * c[i] - second * s[i];
                to[i + HALF] = second * c[i + HALF] + first * s[i + HALF];
            }
        }
    }
}

/* The gradient of what was turned, of elements, from that of the result. */
void turn_heads_backward(const heads *in, const heads *out, const float *cosines, const float *sines, int64_t count,
                         int64_t tokens, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (count * tokens * HEAD >= GRAIN)
    for (int64_t token = 0; token < tokens; token++) {
        const float *c = cosines + token * HEAD, *s = sines + token * HEAD;
        for (int64_t head = 0; head < count; head++) {
            const float *g = in->at + head * in->head + token * in->token;
            element *restrict to = (element *)out->at + head * out->head + token * out->token;
            for (int i = 0; i < HALF; i++) {
                to[i] = to_element(g[i] * c[i] + g[i + HALF] * s[i + HALF]);
                to[i + HALF] = to_element(g[i + HALF] * c[i + HALF] - g[i] * s[i]);
            }
        }
    }
}
