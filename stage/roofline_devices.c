#include <stdio.h>
#include <string.h>

#include "stage/roofline.h"

/* clang-format off */
/* Rates that large products and copies are known to reach, as far as such are published; none was
 * measured by this program.
 *
 *   matrix   about 0.8 of the data sheet's dense bf16 rate with f32 sums: A100 312e12, H100 and
 *            H200 989, B200 2250, PRO 6000 504. RTX 4090 (165), 5090 (209.5) reach more of theirs,
 *            GB10 95 of 125
 *   fp4      about 0.7 of the dense rate: B200 9000e12, 5090 1676, PRO 6000 2000, GB10 500 (CUTLASS
 *            reaches 356)
 *   attn     FlashAttention-2 with mma.sync: published runs on H100 lie between 309e12 and 370e12;
 *            B200 is taken as no faster by that road; 0.7 of matrix where all products are mma.sync
 *   f32      half of the data sheet's f32 rate outside tensor cores
 *   memory   0.9 of the data sheet's bandwidth
 *   host     PCIe 4: 24e9, PCIe 5: 50e9; GB10 has one memory for both
 *   disk     one PCIe 4 NVMe disk
 *   link     NVLink; else through the host; GB10: its 200 Gb/s port
 *   bytes    the data sheet's, less 1.5 GB for driver, libraries and transport; GB10: less 16 GB
 *            for the system that shares it
 *
 * "-fp4": NVFP4 layers multiplied as they are (arithmetic w4a4-vllm): the device's limit, which the
 * CUDA backend does not go for. */
static const struct roofline_device devices[] = {
    /*name            matrix      fp4    attn     f32   memory  host disk   link bytes */
    {"a100",         250e12,       0, 175e12, 9.7e12,  1.8e12, 24e9, 6e9, 250e9,  78500e6},
    {"h100",         790e12,       0, 350e12,  33e12,    3e12, 50e9, 6e9, 336e9,  78500e6},
    {"h200",         790e12,       0, 350e12,  33e12,  4.3e12, 50e9, 6e9, 336e9, 139500e6},
    {"b200",        1600e12,       0, 350e12,  37e12,  7.2e12, 50e9, 6e9, 670e9, 178500e6},
    {"b200-fp4",    1600e12, 6000e12, 350e12,  37e12,  7.2e12, 50e9, 6e9, 670e9, 178500e6},
    {"4090",         150e12,       0, 105e12,  41e12, 0.91e12, 24e9, 6e9,  20e9,  22500e6},
    {"5090",         200e12,       0, 140e12,  52e12,  1.6e12, 50e9, 6e9,  40e9,  30500e6},
    {"5090-fp4",     200e12, 1170e12, 140e12,  52e12,  1.6e12, 50e9, 6e9,  40e9,  30500e6},
    {"pro6000",      400e12,       0, 280e12,  62e12,  1.6e12, 50e9, 6e9,  40e9,  94500e6},
    {"pro6000-fp4",  400e12, 1400e12, 280e12,  62e12,  1.6e12, 50e9, 6e9,  40e9,  94500e6},
    {"gb10",          95e12,       0,  66e12,  15e12, 0.24e12,    0, 6e9,  22e9, 112000e6},
    {"gb10-fp4",      95e12,  350e12,  66e12,  15e12, 0.24e12,    0, 6e9,  22e9, 112000e6},
};
/* clang-format on */
enum { DEVICES = sizeof devices / sizeof *devices };

const struct roofline_device *roofline_device(const char *name)
{
    for (int i = 0; i < DEVICES; i++)
        if (strcmp(devices[i].name, name) == 0)
            return &devices[i];
    return NULL;
}

void roofline_devices(char *out, size_t size)
{
    size_t n = 0;

    for (int i = 0; i < DEVICES && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? ", " : "", devices[i].name);
}
