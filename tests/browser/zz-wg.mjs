import { open, newUser, choose, trainButton, shot } from "/work/main/tests/browser/harness.js";
const place=await open();
const {page,context}=await newUser(place);
const t0=Date.now(); page.on("console",m=>console.log("c",m.type(),m.text().slice(0,400)));
page.on("worker",w=>w.on("console",m=>console.log("w",m.text().slice(0,600))));
await page.waitForTimeout(1500);
console.log(await page.getByTestId("adapter").textContent());
await choose(page,{steps:90,every:10,device:"webgpu"}).catch(e=>console.log(e.message));
console.log("chosen",Date.now()-t0, await page.getByTestId("status").textContent(), await page.getByTestId("problem").allTextContents());
await trainButton(page).click();
let last="";
for(let i=0;i<240;i++){await page.waitForTimeout(1000);const s=await page.getByTestId("status").textContent()+" | "+(await page.getByTestId("problem").allTextContents())+" | "+(await page.locator(".notice").allTextContents());if(s!==last){console.log(((Date.now()-t0)/1000).toFixed(0),s);last=s;}if(/Done/.test(s))break;}
await shot(page,"webgpu"); await place.close();
