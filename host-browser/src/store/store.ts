/** placeholder until the store exists */
import type { LoadProgress, ModelSource } from "./source.ts";
export interface InstalledModel { readonly id: string; readonly name: string; readonly bytes: number; readonly files: readonly { readonly name: string; readonly path: string; readonly bytes: number }[] }
export interface StorageUsage { readonly used: number; readonly quota: number; readonly persisted: boolean }
export class ModelStore {
  static async open(): Promise<ModelStore> { return new ModelStore(); }
  async obtain(_source: ModelSource, _options: { sha256?: string | readonly string[] | undefined; onProgress?: ((progress: LoadProgress) => void) | undefined; signal?: AbortSignal | undefined }): Promise<InstalledModel> { throw new Error("no store"); }
  async hold(_id: string): Promise<() => void> { throw new Error("no store"); }
  async list(): Promise<InstalledModel[]> { return []; }
  async remove(_id: string): Promise<void> {}
  async evict(_bytes: number): Promise<InstalledModel[]> { return []; }
  async usage(): Promise<StorageUsage> { throw new Error("no store"); }
  close(): void {}
}
