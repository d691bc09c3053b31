import { test, before, after } from "node:test";
import { choose, newUser, open, storedRecords, trainButton } from "/work/main/tests/browser/harness.js";
let place; before(async()=>{place=await open()}); after(()=>place?.close());
test("m", async()=>{ const {page}=await newUser(place); await choose(page,{steps:20,every:20,count:2000,device:"webgpu"}); await page.getByLabel("Batch size").fill("4"); await page.getByLabel("Tokens at most").fill("16");
 await page.waitForTimeout(2000); const t=Date.now(); await trainButton(page).click(); 
 for(let i=0;i<56;i++){ await page.waitForTimeout(5000); const r=await storedRecords(page).catch(()=>[]); const l=r[0]?.at(-1); console.log((Date.now()-t)/1000, l?.kind, l?.step, l?.ms, await page.getByTestId("status").textContent()); if(l?.kind==="summary")break;} });
